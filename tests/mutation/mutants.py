"""Which changes of a C++ source are worth a compiler's time, and which of them are drawn.

universalmutator changes lines by regular expressions and knows nothing of C++. Here its mutants
are sifted: what only changes messages, log lines, assertions or comments goes, and so does what
cannot compile, as far as the layout that clang-format gives tells it.
"""

import dataclasses
import hashlib
import os
import re

TOKEN = re.compile(
    r"[A-Za-z_]\w*|\d(?:[\w.']|(?<=[eE])[-+])*|->|::|<<=|>>=|<<|>>|<=|>=|==|!=|&&|\|\||"
    r"\+\+|--|[-+*/%&|^]=|\S"
)
LITERAL_OR_COMMENT = re.compile(r"""//.*|/\*.*?\*/|"(?:\\.|[^"\\])*"|(?<!\w)'(?:\\.|[^'\\])+'""")
# With a space on both sides in code that clang-format has seen, unless they are something else.
BINARY = {"+", "-", "*", "/", "%", "<", ">", "&", "|", "<=", ">=", "==", "!=", "&&", "||"}
# Words that a rule may change by themselves. A change of any other names nothing that exists.
WORDS = set(
    """min max begin end any_of all_of none_of front_inserter back_inserter min_element max_element
    else while true false front back lower_bound upper_bound
    InvalidArgumentError ResourceExhaustedError UnavailableError InternalError NotFoundError
    DeadlineExceededError CancelledError FailedPreconditionError
    INVALID_ARGUMENT RESOURCE_EXHAUSTED UNAVAILABLE""".split()
)
# Statements of which no part is changed. What a log line says is for people; a CHECK that fails
# ends the program, and what it checks never happens in one that is right.
SKIPPED_STATEMENT = re.compile(
    r"(LOG|VLOG|LOG_EVERY\w*|CHECK\w*|DCHECK\w*|static_assert|using|namespace|template|friend)\b"
    r"|extern \"C\"|#"
)
DECLARATION = re.compile(
    r"(?!return\b|delete\b|else\b|throw\b|goto\b)(?:const |constexpr |static |auto |struct )*"
    r"[A-Za-z_][\w:]*(?:<.*>)?[\s*&]+[A-Za-z_\[][\w, \]]*\s*(?:[;={(]|$)"
)
JUMP = re.compile(r"\b(return|break|continue|goto)\b")
TYPE_SCOPE = re.compile(r"^(class|struct|enum|union|namespace)\b|\benum class\b")
# How universalmutator writes the numbers beside one.
NUMBER_AND_ONE = re.compile(r"\((\d+)([+-])1\)")


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One changed line. `line` counts from 1; `before` and `after` have no line feed."""

    file: str
    line: int
    before: str
    after: str

    def key(self):
        """The same wherever the file is and whatever stands around the line."""
        return (os.path.basename(self.file), self.before.strip(), self.after.strip())


@dataclasses.dataclass
class Line:
    """What is known of a line without a compiler."""

    text: str
    code: str  # Without comments, and with the insides of literals blanked.
    statement: str  # The first line of the statement that it is part of.
    complete: bool  # It holds one or more whole statements and opens or ends no block.
    in_function: bool
    in_loop: bool


def blank_literals(line):
    """Literals lose what is in them and comments go; other columns stay."""

    def blank(match):
        text = match.group()
        if text.startswith("/"):
            return " " * len(text)
        return text[0] + "_" * (len(text) - 2) + text[-1]

    return LITERAL_OR_COMMENT.sub(blank, line).rstrip()


def read_lines(source):
    """A `Line` for each line of `source`, a list of lines."""
    result = []
    scopes = []  # Of each open brace: (is a type or a namespace, is a loop).
    statement = ""
    previous_ends = True
    in_comment = False
    for text in source:
        code = blank_literals(text)
        if in_comment or ("/*" in code and "*/" not in code):
            in_comment = "*/" not in code
            code = ""
        begins = previous_ends
        if begins and code.strip():
            statement = code.strip()
        in_function = bool(scopes) and not scopes[-1][0]
        in_loop = in_function and any(loop for _, loop in scopes)
        complete = (
            begins and code.endswith(";") and code.count("(") == code.count(")") and
            code.count("{") == code.count("}")
        )
        result.append(Line(text, code, statement, complete, in_function, in_loop))
        for character in code:
            if character == "{":
                is_type = bool(TYPE_SCOPE.search(statement)) and not statement.endswith(");")
                scopes.append((is_type, statement.startswith(("for ", "while ", "do "))))
            elif character == "}" and scopes:
                scopes.pop()
        if code.strip():
            previous_ends = code[-1] in ";{}" or code.startswith("#") or bool(
                re.search(r"^\s*(case .*|default|public|private|protected):$", code)
            )
    return result


def texts(line):
    """The string literals of a line, in any order."""
    return sorted(text for text in LITERAL_OR_COMMENT.findall(line) if text.startswith('"'))


def changed_tokens(before, after):
    """The tokens of `before` that are others in `after`, as two lists of matches."""
    old, new = list(TOKEN.finditer(before)), list(TOKEN.finditer(after))
    while old and new and old[0].group() == new[0].group():
        del old[0], new[0]
    while old and new and old[-1].group() == new[-1].group():
        del old[-1], new[-1]
    return old, new


def is_plausible(line, after):
    """Whether `line` changed to `after` may compile and may matter."""
    if SKIPPED_STATEMENT.match(line.statement) or not line.code.strip():
        return False
    if after.strip().startswith("/*") and after.strip().endswith("*/"):
        is_value = re.match(r"\s*return\b.*[^\s;]", line.code) and "return;" not in line.code
        return (
            line.complete and line.in_function and not is_value and
            not DECLARATION.match(line.code.strip())
        )
    if texts(line.text) != texts(after):
        return False
    changed = blank_literals(after)
    if changed in (line.code + " break;", line.code + " continue;"):
        return (
            line.complete and line.in_loop and not JUMP.match(line.code.strip()) and
            not DECLARATION.match(line.code.strip())
        )
    if any(changed.count(c) != line.code.count(c) for c in "{}") or (
        changed.count("(") - changed.count(")") != line.code.count("(") - line.code.count(")")
    ):
        return False
    constant = re.search(r"(\S+) \([01]==1\)", changed)
    if constant and not re.search(r"^(if|while|return|&&|\|\||=)$|\($", constant.group(1)):
        return False
    old, new = changed_tokens(line.code, changed)
    if not old and [match.group() for match in new] in ([], ["="]):
        return False
    if len(old) != 1:
        # Outside of functions, parameters would change places.
        return line.in_function or "return" in line.code
    token, replaced = old[0].group(), [match.group() for match in new]
    around = line.code[: old[0].start()][-1:], line.code[old[0].end() :][:1]
    is_binary = around[0] == " " and around[1] in ("", " ")
    if token in BINARY:
        if is_binary:
            return len(replaced) == 1 and replaced[0] in BINARY
        return token == "-" and not replaced
    if token in ("++", "--"):
        return replaced in (["++"], ["--"])
    if re.match(r"[A-Za-z_]", token):
        return token in WORDS and replaced != [token]
    return token not in ("<<", ">>", "->")


def add_one(match):
    return str(int(match.group(1)) + (1 if match.group(2) == "+" else -1))


def sift(file, source, raw):
    """The plausible ones of `raw`: pairs of a line number and what universalmutator made of it."""
    lines = read_lines(source)
    found = {}
    for number, text in raw:
        before = source[number - 1]
        # One line stays one line: an assertion's line number is no difference in the program.
        after = re.sub(r"\n\s*", " ", text.rstrip("\n"))
        after = NUMBER_AND_ONE.sub(add_one, after)
        if is_plausible(lines[number - 1], after):
            found[(number, after)] = Mutant(file, number, before, after)
    return list(found.values())


def draw(mutants, seed, count):
    """`count` of `mutants` (None: all): first one for each line, lines and changes by chance.

    A mutant's place depends on its own lines and the seed only, so that edits elsewhere and a file
    that moves to another folder change little in what is drawn.
    """

    def chance(mutant):
        text = "\0".join((str(seed),) + mutant.key())
        return hashlib.sha256(text.encode()).hexdigest()

    seen = {}
    ranked = []
    for mutant in sorted(mutants, key=lambda m: (chance(m), m.file, m.line)):
        line = (mutant.file, mutant.line)
        seen[line] = seen.get(line, 0) + 1
        ranked.append((seen[line], chance(mutant), mutant))
    ranked.sort(key=lambda entry: (entry[:2], entry[2].file, entry[2].line))
    chosen = [mutant for _, _, mutant in ranked[: len(ranked) if count is None else count]]
    return sorted(chosen, key=lambda m: (m.file, m.line, m.after))
