"""Texts to tokenize: lines, sentences in many scripts, code, mathematics."""

LINES = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", "\t", "\t\t\tx", "\r\n", "a\r\nb\r\n", "a", " a", "a ", "  a  ",
    "Hello world", " Hello  world ", "Hello, world!", "hello\nworld", "hello \n world", "hello\n\n\nworld  ",
    "I'm HERE, they'LL say DON'T", "it's we're I've I'm you'll I'd don't", "IT'S WE'RE I'VE I'M YOU'LL I'D",
    "'s 't 're 've 'm 'll 'd", "'", "''", "'''s", "rock 'n' roll", "it’s we’re I’ve", "'tis the season's",
    "1234567890", " 1234", "1 2 3", "3.14159", "1,000,000.00", "a1b2c3", "x=10;y=20", "2024-01-31T23:59:59Z",
    "v1.2.3-rc4", "0x1F", "1e-10", "No.1", "  12  34  ", "٠١٢٣٤٥", "１２３", "²³¹", "½ ¾", "Ⅷ ⅻ", "①②③", "१२३", "x²+y²",
    "naïve Ünïcode ÀÉ", "e\u0301 combining", "A\u030a", "ﬁne ﬂow", "ǅ ǆ", "ß SS ẞ", "İstanbul ıI", "Ελληνικά κείμενο",
    "Привет, как дела? Всё хорошо.", "приВет МИР", "Українська їжак", "שלום עולם", "مرحبا بالعالم", "السَّلَامُ عَلَيْكُمْ",
    "हिन्दी पाठ", "தமிழ் உரை", "ไทยภาษา", "ភាសាខ្មែរ", "မြန်မာ", "ქართული", "հայերեն", "አማርኛ", "ᏣᎳᎩ", "ᠮᠣᠩᠭᠣᠯ",
    "你好，世界", "日本語のテキスト、カタカナ", "한국어 텍스트", "繁體中文測試。", "ㄅㄆㄇ", "中文English混合text123",
    "😀👍🏽", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "🏳️‍🌈", "❤️ ♥", "☃ snow", "🧑🏿‍🚀 in space 🚀🚀", "a😀b", " 😀 ", "1️⃣2️⃣",
    "\u00a0nbsp\u00a0\u00a0x", "\u3000ideographic\u3000", "\u2003em\u2003space", "\u200bzero\u200bwidth", "\ufeffbom",
    "\u2028line\u2029para", "\u0085next", "\u1680ogham", "\u180emongol", "\x00nul\x00", "\x01\x02\x1f", "\x0b\x0c", "\x1c\x1d\x1e\x1f", "\x7fdel", "\x80\x9f",
    "\ufffd replacement", "\ufffe\uffff", "\ue000 private \uf8ff", "\U000f0000\U0010ffff", "\U00040000", "\U000e0001\U000e0041", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "𝟏𝟐𝟑", "𐍈𐌰", "𓀀𓂀", "𒀀",
    "foo/bar//\n\nbaz", "def f(x):\n    return x ** 2\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}",
    "#include <vector>\nstd::vector<int> v{1, 2, 3};", "SELECT * FROM t WHERE id = 42;", "if err != nil { return err }",
    "let x: Option<&'static str> = None;", "<div class=\"a\">text</div>", "{\"key\": [1, 2.5, null, true]}",
    "https://example.com/a/b?c=d&e=f#g", "user@example.com", "C:\\Users\\name\\file.txt", "$ git commit -m 'fix'",
    "--flag=value -x", "snake_case camelCase PascalCase HTMLParser SCREAMING_CASE kebab-case", "__init__", "a_b_1",
    "\\boxed{42}", "$\\frac{1}{2}$ and \\(x^2\\)", "∑_{i=0}^{n} i² ≤ ∞", "α→β ⇒ γ", "2+2=4", "a<b>c", "@#$%^&*()_+-=[]{}|;:,./?",
    "!!!", "...", "…", "—–-", "“quoted” ‘single’", "¿Qué? ¡Sí!", "«guillemets»", "§ 5 © ® ™ € £ ¥ ₹ ₿",
    "| a | b |\n|---|---|\n| 1 | 2 |", "- item\n  - nested\n    - deep", "1. first\n2. second", "> quote\n\n---\n", "# Title\n\nText.", "```python\nprint('hi')\n```",
    "a" * 100, "ab" * 50, " " * 50, "\n" * 20, "1" * 30, "=" * 80, "-" * 33, "x " * 20, "😀" * 10, "é" * 20,
    "supercalifragilisticexpialidocious", "Donaudampfschifffahrtsgesellschaft", "antidisestablishmentarianism",
    "lorem ipsum dolor sit amet, consectetur adipiscing elit", "The quick brown fox jumps over the lazy dog.",
    "Das ist ein Test, der Umlaute wie äöü enthält.", "C'est l'été, n'est-ce pas?", "El niño comió piña.", "Łódź zażółć gęślą jaźń",
    "Příliš žluťoučký kůň", "Tiếng Việt có dấu", "Türkçe ğüşiöç", "Íslenska þæð", "Åland ø æ",
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_start|>user\nhi<|im_end|>\n", "<repo_name>x<file_sep>", "<|im_start", "|im_end|>",
    "<|IM_END|>", " <|im_end|> ", "a<|im_end|>b", "<|im_end|><|im_end|>", "<|im_<|im_end|>end|>", "<reponame>", "<filename>", "<gh_stars>",
    "<issue_start><issue_comment><issue_closed>", "<jupyter_code>print(1)<jupyter_output>1", "<empty_output>", "<|unknown|>", "<s></s>", "[INST]", "<unk>",
    "Ġ", "Ċ", "Ġthe", "Ā", "ĉ", "ł", "ŃŃ", "the Ġ letter",
]

# Joined at random, these make pieces meet that no list would think of.
PARTS = [
    " ", "  ", "\n", "\t", "\u00a0", "a", "the", " The", "HELLO", "'s", "'S", "'ll", "’t", "7", "42", " 9", "½", "é", "ñ", "Ж", "字", "か", "한", "😀",
    "👍🏽", "!", "?!", "...", "-", "_", "/", "\\", "{", "})", "<|im_end|>", "<", "|>", "$", "€", "\u200d", "\u0301", "ing", "tion", " of", "\r\n", "٣",
]

SENTENCES = """\
The quick brown fox jumps over the lazy dog, and nobody knows why.
Don't they know we've been here since 1999? I'm sure he'd say she'll come.
L'été dernier, j'ai goûté du crème brûlée à Besançon; c'était délicieux, n'est-ce pas ?
Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich, STRASSE und Straße.
El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia. ¿Qué más? ¡Nada!
O próximo vôo à noite sobre o Atlântico põe freqüentemente o único médico em pânico.
Pchnąć w tę łódź jeża lub ośm skrzyń fig. Zażółć gęślą jaźń.
Příliš žluťoučký kůň úpěl ďábelské ódy nad stolem z ořechového dřeva.
Árvíztűrő tükörfúrógép, egy hűtlen vejét fülöncsípő, dühös mexikói úr.
Flygande bäckasiner söka hwila på mjuka tuvor; Ærøskøbing ligger på Ærø.
Kæmi ný öxi hér, ykist þjófum nú bæði víl og ádrepa.
Pijamalı hasta yağız şoföre çabucak güvendi; İstanbul'da ılık bir gün.
Con sói nhảy qua hàng rào, rồi người nông dân đuổi theo nó về phía rừng sâu.
Vörösmarty, Dvořák, Čapek, Łukasiewicz, Ångström, Gödel, Erdős and Poincaré walked in.
Глава первая. Съешь же ещё этих мягких французских булок, да выпей чаю.
Чуєш їх, доцю, га? Кумедна ж ти, прощайся без ґольфів! Об'єднання.
Ѕвезди, џем и љубов: Македонија. Ђаци уче ћирилицу.
Ταχίστη αλώπηξ βαφής ψημένη γη, δρασκελίζει υπέρ νωθρού κυνός. Ἀρχὴ ἥμισυ παντός.
Քանի որ բոլորս գիտենք, Երևանը հին քաղաք է։
ქართული ენა ძალიან ლამაზია; თბილისი დედაქალაქია. ᲥᲐᲠᲗᲣᲚᲘ.
נָתַן לוֹ סֵפֶר טוֹב; שלום עולם, מה שלומך היום? צה״ל.
السَّلَامُ عَلَيْكُمْ وَرَحْمَةُ اللهِ، كيف حالك اليوم؟ قال: «نعم».
یک روز گرم تابستان، می‌خواهم به کتاب‌خانه بروم.
اردو زبان بہت خوبصورت ہے، کیا آپ اسے پڑھ سکتے ہیں؟
ܐܢܐ ܟܬܒ ܟܬܒܐ ܒܠܫܢܐ ܣܘܪܝܝܐ.
ދިވެހިރާއްޖެއަކީ ރީތި ޤައުމެކެވެ.
हिन्दी में लिखा हुआ यह वाक्य क्षत्रिय और ज्ञान जैसे शब्दों से बना है।
मराठी भाषेत ळ आणि ऱ्हस्व असे वर्ण आहेत. १२३ रुपये.
আমি বাংলায় গান গাই, আমি বাংলার গান গাই। ক্ষুধা।
ਪੰਜਾਬੀ ਇੱਕ ਸੋਹਣੀ ਭਾਸ਼ਾ ਹੈ।
ગુજરાતી ભાષામાં લખેલું વાક્ય છે.
தமிழ் மொழியில் எழுதப்பட்ட ஒரு வாக்கியம்; ஸ்ரீ.
తెలుగు భాషలో వ్రాసిన వాక్యం, క్ష్మ.
ಕನ್ನಡ ಭಾಷೆಯಲ್ಲಿ ಬರೆದ ವಾಕ್ಯ.
മലയാളം ഭാഷയിൽ എഴുതിയ ഒരു വാചകം, ന്റെ.
සිංහල භාෂාවෙන් ලියූ වාක්‍යයකි; ශ්‍රී ලංකාව.
ภาษาไทยไม่มีช่องว่างระหว่างคำ น้ำใสไหลเย็นเห็นตัวปลา ๑๒๓ ๆ
ພາສາລາວມີຄວາມສວຍງາມ ນໍ້າ.
ភាសាខ្មែរជាភាសាផ្លូវការរបស់ប្រទេសកម្ពុជា។
မြန်မာဘာသာစကားသည် လှပသည်။ က္ကန္တာရ
བོད་ཡིག་ནི་སྐད་ཡིག་གཅིག་ཡིན། རྒྱལ་པོ
ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ ᠦᠨ ᠦᠰᠦᠭ᠃ ᠨᠢᠭᠡ᠎ᠠ
አማርኛ የኢትዮጵያ ቋንቋ ነው። ሰላም፣ እንዴት ነህ? ፲፪፫
ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ, ꮳꮃꭹ ꭶꮼꮒꭿꮝꮧ and Ꮳꮃꭹ in title case.
ᐃᓄᒃᑎᑐᑦ ᐅᖃᐅᓯᖅ ᓄᓇᕗᑦᒥ.
᚛ᚑᚌᚐᚋ᚜ ᚛ᚈᚐᚋ᚜ and runes ᚠᚢᚦᚨᚱᚲ ᛮᛯᛰ.
中文句子里没有空格，但是有标点符号：逗号、句号和“引号”。
繁體中文與簡體中文的差別，在於字形；臺灣、香港。𠮷野家 㐀㐁 𪚥
日本語の文章には、ひらがなとカタカナと漢字があります。「はい」と言った。ｶﾞｷﾞｸﾞ ヴァ
がぎぐげご か\u3099き\u3099 ハ\u309aパ 々〆〇ゝゞヽヾー
한국어 문장은 띄어쓰기가 있습니다. 그렇지 않습니까? 뷁 ㄱㄴㄷ
\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165 \u1100\u1161\u11a8 \ua960\u1161 \u115f\u1160
ㄅㄆㄇㄈ 注音符號 ˊˇˋ˙ ꀀꀁ ꆈꌠꉙ
ǅ ǈ ǋ ǲ ᾈ ᾩ ᾼ: ǆungla Ǆungla ǅungla, ǳ Ǳ ǲ; ŉ ǰ ΐ
ʰello ʷorld ˈstress ˌmore ꜛꜜ ˥˦˧˨˩ ᵃᵇᶜ ⁿ ₐₑ ꟸ ᶿ ʼn
ﬁne ﬂow ﬀ ﬃ ﬆ ﬓ K Å Ω ℌ ℵ ℼ ™ ℠ № ½ ⅓ ↉
𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕌𝕟𝕚 𝓾𝓷𝓲 𝐔𝐧𝐢 𝟏𝟐𝟑 𝛂𝛃𝛄 𝚌𝚘𝚍𝚎 ℂℍℕℙℚℝℤ
Ⅰ Ⅱ Ⅲ ⅳ ⅻ ↀ ① ② ⑴ ⒈ ⓐ Ⓐ ㈠ ㊀ 〡〢〣 ½¼¾ ²³¹ ⁴₅ ೪ ൰ ፲ 𐄇 𝍠 𐡘
٠١٢٣٤٥٦٧٨٩ ۰۱۲۳۴ ०१२३ ০১২ ੦੧ ௧௨௩ ௰ ౦౧ ๐๑๒ ໐໑ ༠༡༳ ၀၁ ០១ ᠐᠑ １２３ ꘠꘡ 𑁦𑁧
𐌰𐌱𐌲 𐍈𐌿𐍂 𐐀𐐨𐐁𐐩 𐒰𐓘 𞤀𞤢 𐲀𐳀 𑢠𑣀 Ⲁⲁ Ⰰⰰ Ꙁꙁ Ԁԁ
𓀀𓂀𓃰 𒀀𒁀𒂀 𐎀𐎁 𐤀𐤁 𐀀𐀁 𐦀𐦁 ꤀ꤊ ꦲꦏ꧀ꦱꦫ ᬅᬓ᭄ᬱᬭ ᮃᮊ᮪ᮞᮛ ꯃꯤꯇꯩ ᱥᱟᱱᱛᱟᱲᱤ ߒߞߏ ⵜⴰⵎⴰⵣⵉⵖⵜ ꔀꔁ
a\u0301e\u0301\u0323o\u0302\u0301 e\u0323\u0302 u\u031b\u0301 A\u030a\u0327 q\u0307\u0323 \u1e0b\u0323 d\u0307\u0323 \u0344 \u0958 \u2adc \ufb1d
🙂 Hello 👋🏽 world 🌍! 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪🇫🇷🇯🇵 ❤️ ☎︎ 1️⃣ #️⃣ 🧑🏿‍🚀 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ©️ ™️ ⏰ ♀ ⚧
“curly quotes” ‘single’ it’s we’re THEY’LL don’t O’Neill rock ’n’ roll — en–dash… §5 €10 £3 ¥7 ₹2 ₿1
she'ſ he'ſaid 'ſ x'S x'T x'RE x'rE x'Ve x'M x'LL x'Ll x'D x'dd x's's 'S'T'LL
""".splitlines()

CODE = """\
#include <vector>
std::vector<std::pair<int, double>> pairs{{1, 2.0}, {3, 4.5e-3}};
template <typename T> auto Sum(const T& xs) -> decltype(xs[0] + xs[0]) { return {}; }
for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];
if (x != nullptr && (y <= 0x7fff || z >= ~0u >> 1)) goto done;
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", what));
#define MAX(a, b) ((a) > (b) ? (a) : (b))
printf("%-10s|%5.2f\\n", name, value);  // trailing comment
/* block * comment **/ static_assert(sizeof(int) == 4, "no");
def fibonacci(n: int) -> list[int]:
    return [x**2 for x in range(10) if x % 2 == 0 and not x & 1]
    with open(f"{path!r:>{width}}", "rb") as f: data = f.read()
        raise ValueError(f"bad {value=}") from None
@dataclass(frozen=True)
class Point: x: float = 0.; y: float = -1e-9
print("\\n".join(f"{k}: {v}" for k, v in sorted(d.items())))
lambda *args, **kwargs: (yield from args)
import numpy as np; np.einsum("bhqd,bhkd->bhqk", q, k) / np.sqrt(64)
fn main() -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
let v: Vec<&'static str> = s.split_whitespace().collect::<Vec<_>>();
impl<'a, T: Iterator<Item = &'a u8> + ?Sized> Foo<'a, T> where T: Send {}
match x { Some(n @ 1..=9) => println!("{n:?}"), _ => unreachable!() }
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := s.serve(ctx); err != nil { return fmt.Errorf("serve: %w", err) }
	select { case <-ctx.Done(): return ctx.Err(); default: }
const f = async ({ a, b = 2, ...rest }) => await Promise.all([a?.b ?? 0, `t${a}`]);
document.querySelectorAll('div.item > a[href^="https"]').forEach(e => e.remove());
export default function App() { return <div className="x">{items.map(i => <li key={i}/>)}</div>; }
interface Foo<T extends keyof U = never> { readonly [k: string]: Partial<T> | undefined; }
public static void main(String[] args) throws Exception { System.out.println("hi"); }
@Override public int hashCode() { return Objects.hash(a, b) ^ (int) (c >>> 32); }
SELECT u.id, COUNT(*) AS n FROM users u LEFT JOIN orders o ON o.uid = u.id WHERE u.name LIKE '%O''Brien%' GROUP BY 1 HAVING n > 3;
INSERT INTO t (a, b) VALUES (1, 'x'), (2, NULL) ON CONFLICT DO NOTHING;
for f in *.txt; do echo "${f%.txt}" | tr a-z A-Z >> "$out" 2>&1 && rm -f -- "$f"; done
curl -sSL -H 'Content-Type: application/json' -d '{"a":[1,2]}' http://localhost:8080/v1/x?y=z#frag
sed -e 's/\\(foo\\)bar/\\1/g' -i file && awk -F: '{print $1}' /etc/passwd
<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>T &amp; U</title></head>
<svg viewBox="0 0 10 10"><path d="M0,0L10,10Z" stroke="#ff00AA"/></svg>
body { font: 12px/1.5 "Helvetica Neue", sans-serif; color: rgba(0,0,0,.87) !important; }
{"key": "value", "list": [1, 2.5, -3e10, true, false, null], "nested": {"\\u00e9": "\\n"}}
key: value\\nlist:\\n  - item: 1\\n    other: "two"\\n  - &anchor {a: b}
[section]\\nname = "x"\\nversion = "1.2.3-rc.4+build.5"
\\begin{align} f(x) &= \\int_0^\\infty e^{-x^2}\\,dx \\\\ &= \\frac{\\sqrt{\\pi}}{2} \\end{align}
main :: IO () ; main = mapM_ print $ zipWith (+) [1..] <$> Just [2,3]
(defun fact (n) (if (<= n 1) 1 (* n (fact (- n 1)))))
let rec map f = function [] -> [] | x :: xs -> f x :: map f xs;;
my %h = map { $_ => 1 } grep { /^\\w+$/ } @list; print "$h{a}\\n" unless $x =~ m{\\d+};
puts [1, 2, 3].map { |x| x ** 2 }.inject(:+) if defined?(foo) && !bar.nil?
data class P(val x: Int?, var y: String = "z") { fun f() = x?.let { it + 1 } ?: -1 }
guard let x = y as? [String: Any], x.count > 0 else { return }
section .text\\nglobal _start\\n_start: mov rax, 60 ; xor rdi, rdi ; syscall
FROM debian:12-slim AS build\\nRUN apt-get update && apt-get install -y --no-install-recommends g++
if(NOT DEFINED X) set(X "${CMAKE_CURRENT_SOURCE_DIR}/x") endif()
%.o: %.c Makefile\\n\\t$(CC) $(CFLAGS) -c $< -o $@
diff --git a/x.cc b/x.cc\\n@@ -1,3 +1,4 @@\\n-old\\n+new\\n \\n
C:\\\\Users\\\\name\\\\file.txt ..\\\\..\\\\x ~/.config/x/y.toml file:///tmp/a%20b.txt
git commit -m "fix: don't crash (#123)" --author='A U Thor <a@example.com>'
2024-02-29T23:59:59.999Z [INFO ] pid=1234 tid=0x7f3a thread 'main' took 12.5ms (99.9%)
550e8400-e29b-41d4-a716-446655440000 sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
IPv6 2001:0db8::8a2e:0370:7334/64 192.168.0.1:65535 AA:BB:CC:DD:EE:FF
__init__ _private __dunder__ snake_case camelCase PascalCase HTMLParser2XML SCREAMING_CASE kebab-case x1y2z3 iOS17Beta
->  => <= >= != === !== && || ?? ?. :: ... ** // /// /* */ <!-- --> <<< >>> |> <| $$ ## @@ ~~ ++ --
/////// //\\n//\\n/// a/b/c/ /\\n/\\n http:////x //\\r\\n/
""".splitlines()
CODE = [line.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r") for line in CODE]

MATHS = """\
∀ε>0 ∃δ>0: |x−a|<δ ⇒ |f(x)−f(a)|<ε
∑_{i=0}^{n} i² = n(n+1)(2n+1)/6 ≤ ∞, ∏ᵢ xᵢ ≈ 3.14159×10⁻³
$\\frac{d}{dx}\\left(\\int_{0}^{x} f(u)\\,du\\right)=f(x)$ and \\(\\alpha_{i,j}\\in\\mathbb{R}^{m\\times n}\\)
\\boxed{x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}}
3*x^2+4*x+5=1, x=(-4±√(16-48))/6 ∉ ℝ
A ∪ B ∩ C ⊆ D \\ E ≠ ∅; p ∧ ¬q ∨ r ⊕ s ⊢ t; ⟨ψ|φ⟩ ∇×B = μ₀J
lim_{n→∞}(1+1/n)^n = e ≈ 2.718281828459045
\\begin{pmatrix} 1 & 0 \\\\ 0 & 1 \\end{pmatrix}^{-1} \\cdot \\vec{v} = \\lambda\\vec{v}
1,234,567.89 + 0.000_1 − 5% ÷ 7 = 1.2e+06 ≡ 3 (mod 11)
Let $n = 2k+1$. Then $n^2 = 4k^2+4k+1 \\equiv 1 \\pmod{4}$. ∎
""".splitlines()
