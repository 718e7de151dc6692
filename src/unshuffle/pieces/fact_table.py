"""What a notebook shows of an object: a table that asks for nothing from elsewhere."""

from collections.abc import Mapping
from html import escape


def fact_table(facts: Mapping[str, object]) -> str:
    """HTML of facts by name. Nothing in them is taken for markup."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th>"
        f"<td style='text-align:left'>{escape(str(value))}</td></tr>"
        for name, value in facts.items()
    )
    return f"<table>{rows}</table>"
