"""Which of ruff's rules are asked for, how loud each is, and how what it finds is mended.

Only rules that find defects; none about style, naming, age of syntax, or documentation. Left out
after trying them on Django, SQLAlchemy, aiohttp, ansible-core, celery and pip, because most of what
they found there was meant so: B007, B011, B020, B024, B026, B027, B028, B904, B905, COM818, E711,
E712, E721, F403, F405, F722, ISC004, PLE0605, PLE0704, PLW0120, PLW0127, PLW0128, PLW0603, PLW0642,
PLW1508, PLW1510, PLW1641, PLW2901, PT015, RUF012, S101, S104 to S108, S110, S112, S310, S311, S603,
S606, S607, TRY203.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from app.core.findings import Category, Severity


@dataclass(frozen=True, slots=True)
class Rule:
    """What one rule's findings are to us; ``mend`` is a sentence."""

    severity: Severity
    category: Category
    mend: str


SYNTAX = Rule(Severity.CRITICAL, Category.BUG, "Python cannot run or import this file as it is.")
"""What ruff reports without a rule: the file does not parse."""

_TABLE = """
F401    info   bug  Remove the import, or name it in `__all__` when it is meant for others.
F402    minor  bug  Rename the loop variable: behind the loop the import is gone.
F404    major  bug  Move it to the top of the file: here it is a syntax error.
F407    major  bug  Remove it: this Python has no such feature.
F501    major  bug  Mend the format string: it raises when it is used.
F502    major  bug  Give a mapping: it raises when it is used.
F503    major  bug  Give a tuple: it raises when it is used.
F504    minor  bug  Use the arguments in the text, or drop them.
F505    major  bug  Add the missing argument: it raises `KeyError`.
F506    major  bug  Use one kind of placeholder: it raises when it is used.
F507    major  bug  Give as many values as there are placeholders: it raises `TypeError`.
F508    major  bug  Give a tuple: it raises when it is used.
F509    major  bug  Use a format character that Python knows: it raises `ValueError`.
F521    major  bug  Mend the format string: it raises when it is used.
F522    minor  bug  Use the arguments in the text, or drop them.
F523    minor  bug  Use the arguments in the text, or drop them.
F524    major  bug  Add the missing arguments: it raises when it is used.
F525    major  bug  Number all placeholders or none: it raises `ValueError`.
F601    minor  bug  Keep one of the two: the last one wins silently.
F602    minor  bug  Keep one of the two: the last one wins silently.
F621    major  bug  Unpack fewer names: Python refuses this.
F622    major  bug  Keep one starred name: Python refuses this.
F631    major  bug  Drop the parentheses: a tuple is always true, so this never fails.
F632    major  bug  `is` compares identity, which literals do not promise: compare with `==`.
F633    major  bug  Use `print(..., file=...)`: this raises `TypeError`.
F634    major  bug  Drop the parentheses or the comma: a tuple is always true.
F701    major  bug  Python refuses this.
F702    major  bug  Python refuses this.
F704    major  bug  Python refuses this.
F706    major  bug  Python refuses this.
F707    major  bug  Put the bare `except` last: Python refuses this.
F811    minor  bug  Rename or remove one: the earlier definition is never used.
F821    major  bug  Define or import the name: this line raises `NameError` when it runs.
F822    major  bug  Define the name or drop it: `from ... import *` raises `AttributeError`.
F823    major  bug  Assign it first, or say `global` or `nonlocal`: it raises `UnboundLocalError`.
F841    minor  bug  Use the value or drop the name: often the wrong variable is used further down.
F901    major  bug  `NotImplemented` is a value: raising it gives `TypeError`.
E722    minor  bug  Name the exceptions: a bare `except` catches `KeyboardInterrupt` as well.
W605    minor  bug  Use a raw string or double the backslash: newer Pythons refuse it.

B002    major  bug  Write `x += 1` or `x -= 1`: this line changes nothing.
B003    major  bug  Use `os.environ.clear()` and `update()`: the process keeps the old values.
B004    minor  bug  Use `callable(x)`.
B005    major  bug  `strip` takes a set of characters: use `removeprefix` or `removesuffix`.
B006    major  bug  The default is made once and shared by all calls: use `None` and make it inside.
B008    info   bug  The call runs once, when the function is defined: use `None` and call it inside.
B012    major  bug  It swallows the exception in flight: move it out of `finally`.
B015    major  bug  The comparison has no effect: assert, assign or return it.
B016    major  bug  Raise an exception: raising a literal gives `TypeError`.
B017    minor  test Name the exception: this test passes on any error, a typing slip included.
B018    info   bug  The expression has no effect: is a call or an assignment missing?
B019    minor  performance The cache holds every instance for ever: cache on the instance.
B021    minor  docs An f-string is not a docstring: write plain text.
B022    minor  bug  Name the exceptions to suppress, or drop it.
B023    minor  bug  The function sees the loop's last value: bind it as a default argument.
B025    minor  bug  The second handler never runs: remove it.
B029    minor  bug  Name the exceptions: this catches nothing.
B030    major  bug  Name exception classes: this raises `TypeError` when an exception comes.
B031    major  bug  Make a list of the group first: its second use sees nothing.
B032    minor  bug  Write `=`: an annotation assigns nothing.
B033    minor  bug  Remove one of the two.
B034    minor  bug  Pass `count`, `maxsplit` and `flags` by name: by position they are mixed up.
B035    major  bug  The key never changes, so that one entry is left: use the loop's variable.
B039    major  concurrency Every context shares the default: set it where it is needed.

PLE0100 major  bug  Remove the `yield`: making an instance raises `TypeError`.
PLE0101 major  bug  Remove the value: making an instance raises `TypeError`.
PLE0115 major  bug  Keep one: Python refuses both.
PLE0116 major  bug  Move it out of `finally`.
PLE0117 major  bug  Assign the name in an enclosing function: Python refuses this.
PLE0118 major  bug  Declare it before its first use: Python refuses this.
PLE0237 major  bug  Name it in `__slots__`: this raises `AttributeError`.
PLE0241 major  bug  Remove one: Python refuses the class.
PLE0302 major  bug  Take the arguments that Python passes: calling it raises `TypeError`.
PLE0303 major  bug  Return an integer of at least 0: `len()` raises otherwise.
PLE0304 major  bug  Return a bool: `bool()` raises otherwise.
PLE0305 major  bug  Return an integer: indexing raises otherwise.
PLE0307 major  bug  Return a string: `str()` raises otherwise.
PLE0308 major  bug  Return bytes: `bytes()` raises otherwise.
PLE0309 major  bug  Return an integer: `hash()` raises otherwise.
PLE0604 major  bug  Name strings only: `import *` raises otherwise.
PLE0643 major  bug  The sequence is shorter than the index: it raises `IndexError`.
PLE1132 major  bug  Keep one: Python refuses or raises `TypeError`.
PLE1142 major  bug  Make the function `async`: Python refuses this.
PLE1205 major  bug  Give as many values as there are placeholders: the message is lost.
PLE1206 major  bug  Give as many values as there are placeholders: the message is lost.
PLE1300 major  bug  Use a format character that Python knows: it raises `ValueError`.
PLE1307 major  bug  Match the value and its placeholder: it raises `TypeError`.
PLE1310 major  bug  `strip` takes a set of characters: use `removeprefix` or `removesuffix`.
PLE1507 major  bug  Give the variable's name as a string: it raises `TypeError`.
PLE1519 major  bug  Use `singledispatchmethod`: here it dispatches on `self`.
PLE1520 major  bug  Use `singledispatch`: this is not a method.
PLE1700 major  bug  Use `async for`: Python refuses this.
PLW0129 major  bug  Assert a condition: a string's truth never changes.
PLW0131 minor  bug  Write an assignment.
PLW0133 major  bug  Write `raise`: the exception is made and thrown away.
PLW0177 major  bug  NaN equals nothing, itself included: use `math.isnan`.
PLW0211 minor  bug  Remove `@staticmethod` or rename the argument: no instance is passed.
PLW0245 major  bug  Write `super()`: the method is looked up on the class `super` itself.
PLW0406 major  bug  Remove it: the module is not ready yet.
PLW0711 major  bug  Give a tuple: only one of the exceptions is caught.
PLW1501 major  bug  Use a mode that `open` knows: it raises `ValueError`.
PLW1507 major  bug  Use `os.environ.copy()`: a change to this copy changes the process.
PLW1509 minor  concurrency Use `start_new_session` and its kin: it may deadlock with threads.
PLW2101 major  concurrency Keep the lock outside: a new one for each entry guards nothing.
PLR0124 minor  bug  One side is probably meant to be something else.

ASYNC100 minor concurrency The timeout never fires without an `await` inside.
ASYNC105 major concurrency Await it: without that it does nothing.
ASYNC210 major concurrency It stops every other task: use an asynchronous client, or a thread.
ASYNC212 major concurrency It stops every other task: use the asynchronous client.
ASYNC220 major concurrency It stops every other task: use `asyncio.create_subprocess_exec`.
ASYNC221 major concurrency It stops every other task: use `asyncio.create_subprocess_exec`.
ASYNC222 major concurrency It stops every other task: await the process.
ASYNC230 minor concurrency It may stop every other task: read and write in a thread.
ASYNC250 major concurrency It stops every other task: read in a thread.
ASYNC251 major concurrency It stops every other task: `await asyncio.sleep(...)`.
DTZ003  minor  data It has no time zone, so that `.timestamp()` is wrong: `datetime.now(tz=UTC)`.
DTZ004  minor  data It has no time zone, so that `.timestamp()` is wrong: pass `tz=UTC`.
FAST003 major  api  Take the path's parameter in the function: it is silently dropped.
G101    major  bug  Rename the key: logging raises `KeyError`.
INT001  major  bug  Format after the lookup: a text with values in it has no translation.
INT002  major  bug  Format after the lookup: a text with values in it has no translation.
INT003  major  bug  Format after the lookup: a text with values in it has no translation.
LOG007  minor  bug  Use `error`, or let it show the traceback.
PIE794  minor  bug  Remove one: the last one wins silently.
PT010   minor  test Name the exception: this test passes on any error.
RUF006  major  concurrency Keep the task: one that nobody holds may vanish before it is done.
RUF008  major  bug  All instances share it: use `field(default_factory=...)`.
RUF009  minor  bug  The call runs once, for all instances: use `field(default_factory=...)`.
RUF016  major  bug  Use an integer or a slice: it raises `TypeError`.
RUF018  major  bug  `python -O` removes the assignment too: assign first.
RUF024  major  bug  All keys share one object: use a dict comprehension.
RUF026  major  bug  Pass it by position: as a keyword it becomes an entry of the dict.
RUF030  minor  bug  Give the message itself: `print()` returns None.
RUF032  major  data A float literal is rounded already: give a string.
RUF033  minor  bug  Declare it as `InitVar` with that default: the field's own default wins.
RUF034  major  bug  Both branches are the same: one is probably meant to differ.
RUF040  minor  bug  The second value is the message, not what is compared: use `==`.
RUF048  minor  bug  A version may hold letters: compare with `packaging.version`.
RUF049  major  bug  Remove `@dataclass`: members compare equal when they are not.
RUF060  minor  bug  An empty collection holds nothing: the test never succeeds.
RUF064  major  security Write the mode in octal (`0o644`): as a decimal it grants other rights.
SIM220  major  bug  It is always false: one side is probably meant to differ.
SIM221  major  bug  It is always true: one side is probably meant to differ.
SIM222  major  bug  It is always true: write the comparison for each side.
SIM223  major  bug  It is always false: the other side never counts.
T100    major  bug  Remove the debugger: the program stops here and waits.
YTT101  major  bug  Use `sys.version_info`: 3.10 reads as 3.1.
YTT102  major  bug  Use `sys.version_info`: 3.10 reads as 3.1.
YTT103  major  bug  Use `sys.version_info`: texts compare letter by letter.
YTT204  minor  bug  Compare both numbers: a new major version starts again at 0.
YTT301  minor  bug  Use `sys.version_info`: two-digit majors read as one digit.
YTT302  minor  bug  Use `sys.version_info`: texts compare letter by letter.
YTT303  minor  bug  Use `sys.version_info`: two-digit majors read as one digit.

DJ007   minor  security Name the fields: a field added later becomes editable by itself.
S102    minor  security Avoid `exec`: who controls the text controls the process.
S103    minor  security Grant no more than the owner needs.
S113    minor  bug  Pass `timeout=`: without one the call may wait for ever.
S201    major  security Turn it off: the debugger runs any code for whoever reaches the port.
S202    minor  security Pass `filter="data"`: members may be written outside the folder.
S301    info   security Load pickles from trusted places only: loading one runs code.
S302    minor  security Load it from trusted places only: crafted data can crash or run code.
S304    minor  security Use AES-GCM or ChaCha20-Poly1305.
S305    minor  security Use an authenticated mode such as GCM.
S306    major  security Use `tempfile.mkstemp`: the name can be taken before the file is made.
S307    minor  security Use `ast.literal_eval`: who controls the text controls the process.
S308    info   security Escape what goes in: the text is shown as HTML as it is.
S313    minor  security Parse untrusted XML with `defusedxml`: entities can exhaust memory.
S314    minor  security Parse untrusted XML with `defusedxml`: entities can exhaust memory.
S315    minor  security Parse untrusted XML with `defusedxml`: entities can exhaust memory.
S316    minor  security Parse untrusted XML with `defusedxml`: entities can exhaust memory.
S317    minor  security Parse untrusted XML with `defusedxml`: entities can exhaust memory.
S318    minor  security Parse untrusted XML with `defusedxml`: entities can exhaust memory.
S319    minor  security Parse untrusted XML with `defusedxml`: entities can exhaust memory.
S323    major  security Use `ssl.create_default_context()`: this one accepts any certificate.
S324    info   security Use SHA-256, or `usedforsecurity=False` where nothing depends on it.
S501    major  security Verify the certificate: anyone on the way can read and change it.
S502    major  security Use `PROTOCOL_TLS_CLIENT`: this version is broken.
S503    minor  security Use `PROTOCOL_TLS_CLIENT`: this version is broken.
S504    minor  security Use `ssl.create_default_context()`.
S505    major  security Use at least 2048 bits for RSA and DSA, 224 for curves.
S506    major  security Use `yaml.safe_load`: this one can make any object.
S507    major  security Check the host's key: anyone on the way can take its place.
S508    minor  security Use SNMPv3.
S509    minor  security Use `authPriv`.
S601    minor  security Quote what goes into the command.
S602    major  security Give a list without `shell=True`: words in the text become commands.
S604    minor  security Give a list without `shell=True`: words in the text become commands.
S605    minor  security Use `subprocess.run` with a list: words in the text become commands.
S608    minor  security Pass values as parameters: words in them become SQL.
S609    minor  security A file called like an option becomes one: write `./*`.
S610    minor  security Pass values as parameters: words in them become SQL.
S611    minor  security Pass values as parameters: words in them become SQL.
S612    major  security Drop it: who reaches the port runs code.
S701    major  security Turn autoescape on: what users write becomes HTML.
S702    major  security Escape by default: what users write becomes HTML.
S704    minor  security Escape what goes in: the text is shown as HTML as it is.
"""


def _read_table() -> Mapping[str, Rule]:
    rows = (line.split(maxsplit=3) for line in _TABLE.splitlines() if line)
    return MappingProxyType(
        {code: Rule(Severity(loud), Category(kind), mend) for code, loud, kind, mend in rows}
    )


RULES = _read_table()
"""Every rule that is asked for, by ruff's own code."""
