"""What a program tells on its /metrics page."""

import re
import urllib.request


class Metrics:
    """One scrape of a /metrics page."""

    def __init__(self, text):
        self.text = text

    def _series(self, name, labels):
        """Yields the labels and the value of each series of this name that has these labels."""
        for line in self.text.splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)(?: \d+)?", line)
            if match is None or match[1] != name:
                continue
            have = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            if labels.items() <= have.items():
                yield have, float(match[3])

    def total(self, name, **labels):
        """Sum over the series of this name that have these labels; fails if there is none."""
        values = [value for _, value in self._series(name, labels)]
        assert values, f"no series {name} {labels} in:\n{self.text}"
        return sum(values)

    def values(self, name, by=None, **labels):
        """Value of each such series by its label `by`; a single series needs none."""
        return {have.get(by): value for have, value in self._series(name, labels)}


def scrape(address):
    """The page at a program's metrics address, HOST:PORT."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}/metrics", timeout=60) as page:
        return Metrics(page.read().decode())
