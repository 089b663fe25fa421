"""The demonstration's pull request: a small shop, and a change with a defect in every language."""

from __future__ import annotations

import secrets
import string
from textwrap import dedent


def leaked_key() -> str:
    """Make up a key of the shape that cloud access keys have; new each time, good for nothing."""
    alphabet = string.ascii_uppercase + "234567"
    return "AKIA" + "".join(secrets.choice(alphabet) for _ in range(16))


def _text(text: str) -> bytes:
    return dedent(text).lstrip("\n").encode()


DEFECTIVE = (
    "shop/cart.py",
    "shop/customers.py",
    "scripts/release.sh",
    ".github/workflows/release.yml",
)
TITLE = "Give regular customers a discount"
BODY = """Regular customers get ten percent off, as agreed with sales.

Also releases the shop from its own workflow instead of by hand.
"""

BASE: dict[str, bytes | None] = {
    "README.md": _text("""
        # Shop

        Totals, receipts and a release script.
        """),
    "shop/__init__.py": b"",
    "shop/cart.py": _text('''
        """What a customer is about to buy."""

        from dataclasses import dataclass


        @dataclass(frozen=True)
        class Item:
            name: str
            price: int
            count: int = 1


        def total(items: list[Item]) -> int:
            """Return the price of all items, in cents."""
            return sum(item.price * item.count for item in items)


        def mean_price(items: list[Item]) -> float:
            """Return the mean price of the items, in cents."""
            return sum(item.price for item in items) / max(len(items), 1)
        '''),
    "scripts/release.sh": _text("""
        #!/bin/sh
        set -eu
        version="$1"
        git tag "v$version"
        git push origin "v$version"
        """),
    "package-lock.json": _text("""
        {
          "name": "shop",
          "lockfileVersion": 3,
          "packages": {}
        }
        """),
}


def head(key: str) -> dict[str, bytes | None]:
    """Return the files that the pull request changes; ``key`` is the secret it leaks."""
    return {
        "shop/cart.py": _text('''
            """What a customer is about to buy."""

            from dataclasses import dataclass


            @dataclass(frozen=True)
            class Item:
                name: str
                price: int
                count: int = 1


            def total(items: list[Item], discounts: list[int] = []) -> int:
                """Return the price of all items, in cents, after discounts."""
                price = sum(item.price * item.count for item in items)
                for percent in discounts:
                    price -= price * percent // 100
                return prise


            def mean_price(items: list[Item]) -> float:
                """Return the mean price of the items, in cents."""
                return sum(item.price for item in items) / len(items)
            '''),
        "shop/customers.py": _text(f'''
            """Who buys, and how often."""

            import sqlite3

            CLOUD_ACCESS_KEY = "{key}"


            def orders_of(database: sqlite3.Connection, name: str) -> list[tuple[int, int]]:
                """Return the orders of a customer: number and price in cents."""
                query = f"SELECT number, price FROM orders WHERE customer = '{{name}}'"
                return database.execute(query).fetchall()


            def is_regular(database: sqlite3.Connection, name: str) -> bool:
                """Tell whether a customer has ordered ten times or more."""
                try:
                    return len(orders_of(database, name)) >= 10
                except:
                    return True
            '''),
        "scripts/release.sh": _text("""
            #!/bin/sh
            set -eu
            version="$1"
            build=$2
            cd $build
            rm -rf "$build/"*
            git tag "v$version"
            git push origin "v$version"
            """),
        ".github/workflows/release.yml": _text("""
            name: release
            on: pull_request_target
            permissions: write-all
            jobs:
              release:
                runs-on: ubuntu-latest
                steps:
                  - uses: actions/checkout@v4
                    with:
                      ref: ${{ github.event.pull_request.head.sha }}
                  - run: echo "Releasing ${{ github.event.pull_request.title }}"
                  - run: ./scripts/release.sh
            """),
        "package-lock.json": _text("""
            {
              "name": "shop",
              "lockfileVersion": 3,
              "packages": {
                "node_modules/left-pad": { "version": "1.3.0" }
              }
            }
            """),
    }
