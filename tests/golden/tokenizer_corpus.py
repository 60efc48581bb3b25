"""The lines of text on which tokenizers are compared: the same on every run.

lines() gives those that are stored. by_rule() gives those that are too long for that, or too many;
tokenizer_rule_lines.cc follows the same rules.
"""

import random
import unicodedata

from tokenizer_samples import CODE, LINES, MATHS, PARTS, SENTENCES

# First and last character of alphabets: words are made of characters of one of them.
SCRIPTS = [
    "az", "AZ", "\u00df\u00ff", "\u00c0\u00de", "\u0100\u017f", "\u0180\u024f", "\u0250\u02af", "\u02b0\u02ff", "\u0370\u03ff", "\u0400\u04ff",
    "\u0500\u052f", "\u0531\u0587", "\u05d0\u05ea", "\u0591\u05f4", "\u0620\u064a", "\u0610\u06ff", "\u0700\u074f", "\u0780\u07b1", "\u07c0\u07ff", "\u0800\u083e",
    "\u08a0\u08ff", "\u0900\u097f", "\u0980\u09ff", "\u0a00\u0a7f", "\u0a80\u0aff", "\u0b00\u0b7f", "\u0b80\u0bff", "\u0c00\u0c7f", "\u0c80\u0cff", "\u0d00\u0d7f",
    "\u0d80\u0dff", "\u0e01\u0e5b", "\u0e80\u0eff", "\u0f00\u0fff", "\u1000\u109f", "\u10a0\u10ff", "\u1100\u11ff", "\u1200\u137f", "\u13a0\u13fd", "\u1400\u167f",
    "\u1680\u169c", "\u16a0\u16f8", "\u1780\u17f9", "\u1800\u18aa", "\u1a00\u1a1f", "\u1b00\u1b7f", "\u1c80\u1cbf", "\u1d00\u1dbf", "\u1e00\u1eff", "\u1f00\u1fff",
    "\u2c00\u2cff", "\u2d00\u2d7f", "\u3041\u309f", "\u30a0\u30ff", "\u3105\u312f", "\u3131\u318e", "\u3400\u4dbf", "\u4e00\u9fff", "\ua000\ua48c", "\ua500\ua63f",
    "\ua640\ua69f", "\ua722\ua7ff", "\ua880\ua8d9", "\ua960\ua97c", "\uaa00\uaa5f", "\uab30\uabbf", "\uac00\ud7a3", "\ud7b0\ud7fb", "\uf900\ufad9", "\ufb00\ufb4f",
    "\ufb50\ufdff", "\ufe70\ufefc", "\uff10\uffdc", "\U00010000\U000100fa", "\U00010280\U000102fb", "\U00010330\U0001034a", "\U00010400\U0001047f", "\U00010c80\U00010cff",
    "\U00010d00\U00010d39", "\U00010d40\U00010d8f", "\U00011000\U0001106f", "\U00011400\U0001145f", "\U000118a0\U000118f2", "\U00012000\U000123ff", "\U00013000\U0001342f", "\U00016e40\U00016e9a",
    "\U0001d400\U0001d7ff", "\U0001e900\U0001e95f", "\U00020000\U0002a6df", "\U0002f800\U0002fa1d",
]
NUMBERS = (
    "0123456789" "²³¹¼½¾" "٠١٢٣٤٥٦٧٨٩" "۴۵۶" "߀߁" "०१२३४" "০১২" "௧௰௱" "౸" "൰" "๑๒๓" "༡༪" "၀၁" "፩፪፻" "ᛮᛯᛰ" "៑០១" "᠑" "⁰⁴⁵₀₁" "⅐⅓ⅠⅫⅷↀↁↂ↊" "①⑳⒈⓪"
    "〇〡〣㈠㉑㊀㊿" "꘠꛱꠰꣐" "０１９" "\U00010107\U00010140\U000102e1\U00010320\U000103d1\U00010858\U00010a40\U00011052\U00011066\U00012400\U0001d360\U0001d7ce\U0001d7ff\U0001e8c7\U0001e950\U0001ec71\U0001f100\U0001fbf0"
    "\U00010d40\U00011de0\U00016ff4\U000116d0\U0001ccf0\U0001e5f1")
SPACES = [" ", " ", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x1f", "\u0085", "\u00a0", "\u1680", "\u180e", "\u2000", "\u2003",
          "\u2009", "\u200a", "\u200b", "\u200d", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff"]
MARKS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030c\u0316\u0323\u0327\u0328\u031b\u0338\u0345\u035c\u05b0\u05bc\u064b\u064e\u0651\u0670\u093c\u094d\u0e38\u0f71\u0f74\u1dce\u20d0\u20e3\u3099\u309a\ufe0f\ufe20\u1ab0\u0897\U00010a0d\U0001d165\U000e0100"
FACES = ["😀", "👍", "👋", "🧑", "👩", "👨", "❤", "🏳", "🌈", "🚀", "🐱", "☃", "✈", "☎", "🇩", "🇪", "🇺", "🇸", "1", "#", "🫠", "\U0001fae8", "\U0001f6d8", "\U0001faea"]
JOINTS = ["", "", "", "\u200d", "\ufe0f", "\ufe0e", "\u20e3", "\U0001f3fb", "\U0001f3fd", "\U0001f3ff", " ", "\U000e0067", "\U000e007f"]
PUNCTUATION = [*"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "...", "--", "//", "://", "=>", "\u2014", "\u2026", "\u201c", "\u201d", "\u2019", "\u3002", "\uff0c", "\u00b7", "\u00a7", "\u20ac", "\u2212"]
NAMES = "i j n x y_1 value tokenId MAX_SIZE std::string self.weights http2 parseXML Ωmega naïve 变量".split()

CONTROL_TOKENS = ["<|endoftext|>", "<|endofprompt|>", "<|assistant|>", "<|end|>", "<|user|>", "<|system|>", "<|tool|>", "<|/tool|>", "<|tool_call|>", "<|/tool_call|>", "<|tool_response|>", "<|tag|>",
                  "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>", "<|reserved_special_token_7|>",
                  "<|vision_start|>", "<|object_ref_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>", "<|fim_prefix|>", "<|repo_name|>", "<repo_name>", "<file_sep>", "<issue_start>", "<empty_output>"]
# Those that tokenizer_variants.py adds to try the rules of added tokens.
RULE_TOKENS = ["<<left>>", "<<right>>", "<<both>>", "<<word>>", "<<norm>>", "<<word-both>>", "wörd", "naïve token", "zqx", "zqxj", " sp ", "Ⅷ"]


def word(rng, script):
    first, last = ord(script[0]), ord(script[-1])
    return "".join(chr(rng.randint(first, last)) for _ in range(rng.choice([1, 2, 2, 3, 4, 5, 7])))


def script_lines(rng):
    for script in SCRIPTS:
        for _ in range(45):
            words = [word(rng, script) for _ in range(rng.randint(1, 4))]
            yield rng.choice([" ", " ", " ", "", "-", rng.choice(SPACES), rng.choice(PUNCTUATION)]).join(words)
    for _ in range(1500):
        yield "".join(word(rng, rng.choice(SCRIPTS))[:3] + rng.choice(["", "", " ", rng.choice(MARKS), rng.choice(NUMBERS), rng.choice(PUNCTUATION)])
                      for _ in range(rng.randint(2, 6)))


def sentence_lines(rng):
    for text in SENTENCES + MATHS:
        yield text
        for change in (str.upper, str.lower, str.title, str.swapcase, lambda t: unicodedata.normalize("NFD", t), lambda t: unicodedata.normalize("NFC", t),
                       lambda t: unicodedata.normalize("NFKD", t), lambda t: t.replace(" ", "\u00a0"), lambda t: t[::-1]):
            yield change(text)
        for _ in range(18):
            begin = rng.randrange(len(text))
            yield text[begin:begin + rng.randint(3, 45)]
        for _ in range(6):
            words = text.split(" ")
            yield "".join(w + rng.choice(SPACES) for w in rng.sample(words, min(len(words), 4)))
    for _ in range(700):
        yield " ".join(rng.choice(SENTENCES).split(" ")[0] for _ in range(rng.randint(2, 5)))


def code_lines(rng):
    yield from CODE
    for _ in range(2600):
        text = rng.choice(["\n", "\n\n", "\r\n", " "]).join(rng.choice(["", "  ", "    ", "\t", "\t\t"]) + rng.choice(CODE) for _ in range(rng.randint(1, 3)))
        begin = rng.randrange(len(text))
        yield text[begin:begin + rng.randint(10, 90)]
    for _ in range(700):
        yield rng.choice(["", " ", "    ", "\t"]) + "".join(rng.choice([rng.choice(NAMES), rng.choice(PUNCTUATION), rng.choice(PUNCTUATION), str(rng.randrange(10 ** rng.randint(1, 9))), " ", "\n"])
                                                           for _ in range(rng.randint(3, 14)))


def symbol_lines(rng):
    for _ in range(900):  # Emoji.
        yield "".join(rng.choice(FACES) + rng.choice(JOINTS) for _ in range(rng.randint(1, 6)))
    for _ in range(900):  # Numbers.
        yield "".join(rng.choice([rng.choice(NUMBERS), rng.choice(NUMBERS), rng.choice("0123456789"), rng.choice([" ", "a", ".", ",", "\u0301"])]) for _ in range(rng.randint(2, 14)))
    for _ in range(1300):  # White space.
        yield "".join(rng.choice([rng.choice(SPACES), rng.choice(SPACES), rng.choice(["a", "B", "7", "!", "/", "\u0301", "字"])]) for _ in range(rng.randint(1, 10)))
    for _ in range(900):  # Control characters.
        yield "".join(chr(rng.choice([rng.randrange(32), rng.randrange(127, 160), rng.randrange(32, 127)])) for _ in range(rng.randint(1, 12)))
    for _ in range(900):  # Marks, to order and to compose.
        yield "".join(rng.choice(["a", "E", "q", "\u0915", "\u05d0", "\u1100\u1161", "\uac00", "\u30ab", " ", "1", "-", "\u00c5", "\u1e9b\u0323"]) + "".join(rng.choice(MARKS) for _ in range(rng.choice([0, 1, 1, 2, 3, 6])))
                      for _ in range(rng.randint(1, 5)))
    for _ in range(900):  # Contractions.
        yield "".join(rng.choice(["I", "they", "HE", "Ça", "字", "7", " ", "", "'", "ǅ"]) + rng.choice(["'", "'", "'", "\u2019", "\u02bc"]) +
                      rng.choice(["s", "S", "t", "T", "re", "Re", "rE", "RE", "ve", "VE", "vE", "m", "M", "ll", "LL", "lL", "d", "D", "\u017f", "l", "r", "v", "x", "Re\u017f"]) +
                      rng.choice(["", "", " ", "s", "X", "\u0301", "."]) for _ in range(rng.randint(1, 4)))


def random_lines(rng):
    for _ in range(700):
        yield "".join(rng.choice(PARTS) for _ in range(rng.randint(2, 12)))
    for last in (0x17f, 0x2fff, 0xffff, 0x1ffff, 0x10ffff):
        for _ in range(260):
            line = "".join(chr(rng.randint(0, last)) for _ in range(rng.randint(1, 7)))
            yield line.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    for _ in range(900):
        yield bytes(rng.randrange(256) for _ in range(rng.randint(1, 18))).decode("utf-8", "replace")
    for _ in range(300):
        piece = rng.choice([*PARTS, *FACES, *SPACES, *MARKS, *PUNCTUATION, "aB", "Ab", "ß", "ab", "1a"])
        yield rng.choice(["", "x", " "]) + piece * rng.randint(8, 260) + rng.choice(["", "x", " ", "\n", "7"])


def token_lines(rng):
    tokens = CONTROL_TOKENS + RULE_TOKENS
    yield from tokens
    for _ in range(1700):
        parts = []
        for _ in range(rng.randint(1, 4)):
            token = rng.choice(tokens)
            parts += [rng.choice(["", "", "a", "é", "7", ".", "_", "字", "\u0301", "e\u0301", "A\u030a", "hello", "<", "|", "zqx"]), rng.choice(["", "", *SPACES]),
                      rng.choice([token] * 7 + [token[:-1], token[1:], token.upper(), unicodedata.normalize("NFD", token)]), rng.choice(["", "", *SPACES])]
        yield "".join(parts) + rng.choice(["", "b", "1", "!", "\u0327", " "])


def lines():
    """Distinct lines, in order."""
    rng = random.Random(20261125)
    distinct = dict.fromkeys(LINES)
    for source in (script_lines, sentence_lines, code_lines, symbol_lines, random_lines, token_lines):
        distinct.update(dict.fromkeys(source(rng)))
    return list(distinct)


LONG_BYTES = 1 << 20


class Lcg:
    """Numbers that a few lines of any language make alike (Knuth's MMIX)."""

    def __init__(self):
        self.state = 1

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound


LONG_RUNS = ["a", "A", " ", "\n", "7", "=", "/", "é", "字", "ก", "\u0301", "\u3000", "😀", "👩\u200d🚀", "ab", "a ", "<", "'s", "\r\n"]
LONG_MIXES = ["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", "0123456789", "aaaaab \n", "aé字ก\u0301\u0327 ", "eE's \t\n.7/"]


def long_lines():
    """1 MB each: one string again and again; characters drawn from a set."""
    for piece in LONG_RUNS:
        yield piece * (LONG_BYTES // len(piece.encode()))
    for characters in LONG_MIXES:
        lcg, line, size = Lcg(), [], 0
        while size < LONG_BYTES:
            line.append(characters[lcg.below(len(characters))])
            size += len(line[-1].encode())
        yield "".join(line)


def character_lines():
    """The characters of Unicode, each between others of each class; a line for each 256. Of the planes beyond
    the first two, which hold ideographs and nothing, every sixteenth 256.
    """
    for block in [*range(0, 0xd800, 256), *range(0xe000, 0x20000, 256), *range(0x20000, 0x110000, 4096)]:
        yield "".join(f"{c}a{c}B{c}c {c}1{c}!{c} {c}{c}\n" for c in map(chr, range(block, block + 256)))


def by_rule():
    yield from long_lines()
    yield from character_lines()
