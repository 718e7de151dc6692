"""A solution as one page for a browser: self-contained, interactive, without any network access."""

from unshuffle.views.report.page import report_page as report_page
