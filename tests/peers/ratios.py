"""From what was measured in rounds to ratios, and the table that people read."""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Regime:
    """One line of the table: what is measured, and in how many rounds at most."""

    kind: str  # "prefill" or "decode".
    sequences: int
    tokens: int  # Of a prompt, or before those that are decoded.
    steps: int = 1
    rounds: int = 1000

    @property
    def line(self):
        """What the programs are asked."""
        if self.kind == "prefill":
            return f"prefill {self.tokens}"
        return f"decode {self.sequences} {self.tokens} {self.steps}"

    @property
    def name(self):
        if self.kind == "prefill":
            return f"prefill of {self.tokens}"
        streams = "1 stream" if self.sequences == 1 else f"{self.sequences} streams"
        depth = f" at depth {self.tokens}" if self.tokens >= 1024 else ""
        return f"decode, {streams}{depth}"


def ratios(ours, theirs):
    """Round by round: rounds that either of the two did not finish do not count."""
    return [a / b for a, b in zip(ours, theirs)]


def spread(values, digits=2):
    """"1.52 (1.40 to 1.61)": the median, least and most."""
    if not values:
        return ""
    text = f"{statistics.median(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    return text


def rate(values):
    if not values:
        return ""
    median = statistics.median(values)
    return f"{median:.1f}" if median < 100 else f"{median:.0f}"


def table(rows):
    """Lines of a Markdown table, which a terminal shows well too. The first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("| " + " | ".join(cells) + " |")
        if number == 0:
            rules = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
            lines.append("| " + " | ".join(rules) + " |")
    return lines


def compare(measured, regimes, names, read_percents, variants=()):
    """The rows of the table: the rates of `names`, and the ratios of the first to each of the others.

    `measured` is by (name, regime): tokens a second, of each round. `read_percents` is by regime.
    Of `variants`, which are other ways to run what the first runs, the ratio is to the first.
    """
    first, *others = names
    pairs = [(name, first) if name in variants else (first, name) for name in others]
    rows = [["regime", f"{first} tok/s", "of read", *(f"{name} tok/s" for name in others)]]
    rows[0] += [f"{above} / {below}" for above, below in pairs]
    for regime in regimes:
        own = measured.get((first, regime), [])
        percents = read_percents.get(regime, [])
        row = [regime.name, rate(own), f"{statistics.median(percents):.0f} %" if percents else ""]
        row += [rate(measured.get((name, regime), [])) for name in others]
        row += [
            spread(ratios(measured.get((above, regime), []), measured.get((below, regime), [])))
            for above, below in pairs
        ]
        if any(row[1:]):
            rows.append(row)
    return rows
