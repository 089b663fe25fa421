"""Where GitHub stops, each with the page that says so."""

from __future__ import annotations

API_VERSION = "2022-11-28"
"""Supported until at least 2028-03 and known to every Enterprise Server in use:
https://docs.github.com/en/rest/about-the-rest-api/api-versions"""

PAGE = 100
"""Rows a list gives at most: https://docs.github.com/en/rest/using-the-rest-api/using-pagination-in-the-rest-api"""

PAGES = 100
"""Pages we read of any list, so that a list that never ends ends here."""

FILES_LISTED = 3000
"""Files a pull request's list names at most:
https://docs.github.com/en/rest/pulls/pulls#list-pull-requests-files"""

BODY = 60_000
"""Characters and bytes of one body; GitHub refuses more than 65,536 characters:
https://docs.github.com/en/rest/checks/runs#create-a-check-run"""

COMMENTS_PER_REVIEW = 30
"""Comments sent in one review. GitHub names no number; 30 is what reviewdog found to pass its
abuse limits: https://github.com/reviewdog/reviewdog/blob/master/service/github/github.go"""

FILE_COMMENTS = 10
"""File-level comments of one review, for the same reason."""

CHECK_TEXT = 60_000
"""Characters we use of a check run's text; GitHub takes 65,535:
https://docs.github.com/en/rest/checks/runs#create-a-check-run"""

ANNOTATIONS_PER_REQUEST = 50
"""https://docs.github.com/en/rest/checks/runs#update-a-check-run"""

ANNOTATION_TITLE = 255
"""Characters: https://docs.github.com/en/rest/checks/runs#create-a-check-run"""

ANNOTATION_MESSAGE = 60_000
"""Characters and bytes; GitHub takes 64 KB: same page."""

CHECK_TITLE = 255
"""Characters we use of a check run's title; GitHub names no limit."""

ANSWER_BYTES = 64 * 1024 * 1024
"""The largest answer we take, decompressed: 100 files with patches of at most 500 KB each are
50 MB: https://docs.github.com/en/repositories/creating-and-managing-repositories/repository-limits"""

WRITES_PER_MINUTE = 60
WRITES_PER_HOUR = 400
SECONDS_BETWEEN_WRITES = 1.0
"""Below what counts as abuse, 80 a minute and 500 an hour, serially and a second apart:
https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api"""

SECONDARY_WAIT_S = 60.0
"""What to wait at least after a secondary limit that names no time: same page."""

DELIVERY_DAYS = 3
"""How long a webhook delivery can be sent again:
https://docs.github.com/en/webhooks/testing-and-troubleshooting-webhooks/redelivering-webhooks"""
