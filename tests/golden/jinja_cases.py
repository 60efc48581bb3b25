"""Small templates that try one habit of Jinja2 or Python each."""

import copy

VARIABLES = {"s": "Hello World", "padded": "  a b \n", "l": [1, 2, 3], "d": {"b": 1, "a": [True, None]}, "e": "",
        "u": "é😀\u00a0x", "q": "it's \"x\"\n\\", "f": 1.5, "i": 7, "n": None, "t": True,
        "m": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "n": 3}]}

# Expressions, rendered with these variables.
EXPRESSIONS = """
1.0 ; 0.1 ; 1e16 ; 1e15 ; 123456789012345680.0 ; 0.0001 ; 0.00001 ; 1e-7 ; -0.0 ; 1e300 ; 3.14159 ; 100.0 ; 2.5e-10
true ; false ; none ; True ; False ; None ; [true, none, 1.0, 'a'] ; d ; l ; q ; [q] ; u ; [u] ; {'a': {'b': 'c'}}
['a"b'] ; ["a'b"] ; ["a'\\"b"] ; ['a\\nb\\t\\\\'] ; [''] ; [] ; {} ; [[]] ; {'k': none} ; {1: 2} ; m ; m[0] ; [1.0, 1e20]
d.b ; d['a'] ; d.missing ; d['missing'] ; d.get('b') ; d.get('x') ; d.get('x', 5) ; d.keys() | list ; d.values() | list
d.items() | list | length ; l[0] ; l[-1] ; l[9] ; l[1:] ; l[:-1] ; l[::-1] ; l[::2] ; s[0] ; s[-1] ; s[1:4] ; s[::-1] ; s[:5]
s[6:] ; s[20:] ; s[-3:] ; m[1:] ; m[::-1] ; m[0].role ; m[-1]['content'] ; l[5:] ; l[0:0] ; l[-2:] ; u[0] ; u[1:]
s ~ 1 ; s ~ none ; s ~ true ; s ~ 1.5 ; s ~ l ; s ~ d ; 1 ~ 2 ; s + 'x' ; s * 2 ; l + [4] ; 7 / 2 ; 7 // 2 ; 6 / 2 ; -7 // 2
-7 % 3 ; 7 % 3 ; 2 ** 3 ; 7.0 // 2 ; 1 + 1.0 ; i + 1 ; -i ; not t ; t and 'a' ; e or 'b' ; e and 'x' ; n or 'c' ; 0 or 2
'a' in s ; 'H' in s ; 'b' in d ; 2 in l ; 2 not in l ; 'x' not in s ; s == 'Hello World' ; 1 == 1.0 ; 1 == true ; l == [1, 2, 3]
'a' < 'b' ; 1 < 2 < 3 ; 3 > 2 > 2 ; n == none ; e == none ; 'a' if t else 'b' ; 'a' if e ; 'a' if e else 'b' ; not e ; not l
missing ; missing is defined ; s is defined ; missing is undefined ; missing or 'x' ; missing and 'x' ; not missing ; missing == none
missing is none ; n is none ; n is defined ; missing | default('d') ; n | default('d') ; e | default('d') ; e | default('d', true)
missing | length ; missing ~ 'x' ; 'x' in missing ; missing is string ; missing is mapping ; missing | string ; missing | trim
missing | join ; missing | list ; missing is iterable ; n is iterable ; s is iterable ; l is iterable ; d is iterable ; i is iterable
s is string ; l is string ; d is mapping ; l is mapping ; s is mapping ; l is sequence ; s is sequence ; d is sequence ; i is sequence
i is number ; f is number ; t is number ; s is number ; i is integer ; f is integer ; t is integer ; f is float ; i is float
t is boolean ; i is boolean ; t is true ; t is false ; i is true ; n is true ; i is odd ; i is even ; i is divisibleby(7) ; i is eq(7)
i is in([7]) ; s is sameas(s) ; s is lower ; s is upper ; d is callable ; range is callable ; s is not string ; i is not none
s | upper ; s | lower ; s | title ; s | capitalize ; 'hELLO wORLD' | title ; 'hELLO wORLD' | capitalize ; "they're bill's" | title
s | length ; u | length ; l | length ; d | length ; s | trim ; padded | trim ; padded | trim ~ '|' ; 'xxaxx' | trim('x') ; u | trim
s | replace('o', '0') ; s | replace('o', '0', 1) ; l | join ; l | join(', ') ; [1, none, true, 'a', 1.0] | join('-') ; [] | join
m | map(attribute='role') | join(',') ; m | map(attribute='n', default='-') | join(',') ; ['a', 'b'] | map('upper') | join
m | selectattr('role', 'equalto', 'user') | list | length ; m | selectattr('n') | list | length ; m | selectattr('n', 'defined') | list
m | rejectattr('role', 'eq', 'user') | map(attribute='content') | first ; l | select('odd') | list ; l | reject('odd') | list
l | first ; l | last ; [] | first ; s | first ; s | last ; l | sum ; l | max ; l | min ; l | reverse | list ; s | reverse ; l | sort
['b', 'A', 'c'] | sort ; [3, 1] | sort(reverse=true) ; ['a', 'b', 'a'] | unique | list ; d | dictsort | list | length ; d | list ; s | list | length
l | batch(2) | list ; '3' | int ; 'x' | int ; '3.7' | float ; 3.7 | int ; '1.5' | int ; 'x' | int(default=4) ; i | float ; i | string ; f | string
l | string ; d | string ; t | string ; n | string ; 3.14159 | round(2) ; 2.5 | round ; 3 | abs ; -3 | abs ; d | items | list | length
'a\\nb' | indent ; 'a\\nb' | indent(2) ; 'a\\nb' | indent(2, true) ; 'a\\n\\nb' | indent(2) ; 'a\\nb\\n' | indent(2)
'%s is %d' | format('a', 3) ; s | safe ; 'a<b' | safe ; l | tojson ; d | tojson ; s | tojson ; u | tojson ; q | tojson ; f | tojson ; 1e16 | tojson
1e-5 | tojson ; 1.0 | tojson ; none | tojson ; true | tojson ; d | tojson(indent=2) ; d | tojson(indent=4) ; [] | tojson(indent=2) ; {} | tojson(indent=2)
m | tojson ; m | tojson(indent=2) ; d | tojson(sort_keys=true) ; u | tojson(ensure_ascii=true) ; u | tojson(ensure_ascii=false) ; d | tojson(separators=(',', ':'))
d | tojson(separators=(',', ': '), ensure_ascii=False) ; d | tojson(indent=0) ; d | tojson(indent='--') ; '<>&\\'' | tojson ; '\\x7f\\x1f\\x08' | tojson ; {1: 2, none: 3} | tojson
s.upper() ; s.lower() ; s.split() ; s.split('o') ; s.split('o', 1) ; s.split('x') ; padded.split() ; ' a  b '.split(' ') ; 'a,b,,c'.split(',') ; ''.split() ; ''.split(',')
'a b c'.split(none, 1) ; s.rsplit('o', 1) ; 'a/b/c'.rsplit('/') ; s.partition(' ')[0] ; s.partition('x')[2] ; s.rpartition('o') | last ; padded.strip() ; padded.lstrip() ; padded.rstrip()
'xxhixx'.strip('x') ; 'xyhiyx'.strip('xy') ; 'abca'.lstrip('a') ; 'abca'.rstrip('a') ; '\\x1c a\\x1f'.strip() ; u.strip() ; '\\u3000a\\u200b'.strip() ; s.startswith('He') ; s.endswith('ld')
s.startswith(('x', 'H')) ; s.replace('l', 'L') ; s.replace('l', 'L', 1) ; s.find('o') ; s.find('z') ; u.find('x') ; s.rfind('o') ; s.index('W') ; s.count('o') ; s.count('l')
s.title() ; s.capitalize() ; 'ß'.upper() ; 'a-b c\\'d'.title() ; s.isdigit() ; '12'.isdigit() ; ''.isdigit() ; '1a'.isalnum() ; 'ab'.isalpha() ; ' '.isspace() ; ''.isspace() ; 'AB1'.isupper() ; 'ab1'.islower() ; ''.islower() ; '1'.islower()
', '.join(['a', 'b']) ; 'a\\nb\\r\\nc'.splitlines() ; 'a\\nb\\n'.splitlines() ; 'a\\nb\\n'.splitlines(true) ; 'a\\x0bb\\u2028c'.splitlines() ; 'abc'.removeprefix('a') ; 'abc'.removesuffix('c') ; 'abc'.removeprefix('x')
'{} {}'.format('a', 1) ; '{x}'.format(x=1) ; 'a'.center(5) ; 'a'.ljust(3) ~ '|' ; 'a'.rjust(3) ; '7'.zfill(3) ; 'aB'.swapcase() ; l.index(2) ; l.count(1)
range(3) | list ; range(1, 4) | list ; range(6, 0, -2) | list ; range(0) | list ; dict(a=1) ; dict(a=1).a ; namespace(a=1).a ; [1, 2] + [3] ; (1, 2) | list ; l | length > 2 ; (l | length) > 2
1 if t else 2 ; 'a' 'b' ; "a" ~ ("b" if t else "c") ; s.split()[0] ; s.split(' ')[-1] ; s.split('x')[0] ; m[0].content.split('x')[-1] ; d.a[0] ; d.a[1] ; d['a'][0] ; s.x ; l.x ; i.x ; n.x ; s['x']

missing | items | list ; missing | first ; missing | last ; missing | upper ; missing | lower ; missing | title ; missing | capitalize ; missing | replace('a', 'b') ; missing | int ; missing | float
missing | sum ; missing | sort ; missing | map(attribute='x') | list ; missing | map('upper') | list ; missing | selectattr('x') | list ; missing | select | list ; missing | unique | list ; missing | reverse | list ; missing | tojson
missing | dictsort ; missing | indent ; missing | max ; missing | abs ; missing | round ; missing | batch(2) | list ; missing | dictsort | list ; missing | groupby('x') | list ; [missing] | join ; [missing] ; {'a': missing}
n | upper ; n | trim ; n | replace('o', 'x') ; n | length ; n | first ; n | join ; n | list ; n | int ; n | float ; n | tojson ; n | indent ; n | title ; i | upper ; i | trim ; i | length ; i | replace('7', '8') ; f | int ; t | int ; t | upper ; l | upper ; d | upper ; l | trim
m | map(attribute='x') | list ; m | map(attribute='role') | list ; m | selectattr('role', 'in', ['user']) | list | length ; m | selectattr('role', 'ne', 'user') | list | length ; m | rejectattr('n') | list | length ; m | sum(attribute='n') ; m | map('length') | list
l | join(d='-') ; m | join(',', attribute='role') ; 'abc' | join('-') ; d | join(',') ; s | list | join ; l | map('string') | list ; m | sort(attribute='role') | map(attribute='role') | list ; l | select('greaterthan', 1) | list ; l | select('>', 1) | list ; l | select('ge', 2) | list
0x1f ; 1_000 ; 0o17 ; 0b11 ; 'a\\u00e9' ; '\\x41' ; '\\'' ; "\\"" ; 'tab\\t' ; '\\d' ; '\\\\' ; 18446744073709551615 ; -9223372036854775808 ; 99999999999999999999 ; 2 ** 70 ; i // 0 ; i % 0

1 / 0 ; 1 // 0 ; 1 % 0 ; 1.0 / 0 ; 1 / 0.0 ; 1.5 // 0 ; 1.5 % 0 ; 0 / 0 ; 0.0 / 0.0 ; -1 / 0 ; f // 0.0 ; f % 0.0 ; i / (i - 7) ; i / false ; i // false ; 0 ** -1 ; 0.0 ** -1 ; 0 ** 0 ; 1 / -0.0
7 // -2 ; 7 % -2 ; -7 // -2 ; -7 % -2 ; 7.5 // -2 ; 7.5 % -2 ; -7.5 % 2 ; -7.5 // 2 ; 7.0 // 0.5 ; 6.0 % 3 ; -6.0 % 3 ; 1 // 0.1 ; 1 % 0.1 ; 0 // 5 ; 0.0 // -5 ; 5 / 2.0 ; true / 2 ; true // 2 ; true % 2 ; 10 % 3.5 ; 1e308 / 1e-308 ; 123456789012345678 // 10 ; 123456789012345678 % 10
2 ** -1 ; 2 ** 0.5 ; 4 ** 0.5 ; (-2) ** 3 ; (-2) ** -1 ; 2.0 ** 3 ; true ** 2 ; 1 ** 1000 ; (-1) ** 1001 ; 0 ** 5 ; 10.0 ** 400 ; (-1.0) ** 2.0 ; 2 ** true ; -2 ** 2
s / 2 ; 2 / s ; s // 2 ; n / 1 ; 1 // n ; l / 2 ; missing / 2 ; 2 % missing ; d ** 2 ; s - 1 ; s - 'H' ; l - [1] ; n * 2 ; n - 1 ; 1 - n ; s ** 2 ; -s ; -n ; -l ; 1 % s ; n % 2 ; d // 1 ; d + d ; l + d ; l + s ; s + l ; d - d ; f + s ; f * s
int('x') ; int('1') ; str(1) ; len(l) ; float('x') ; sum(l) ; abs(-1) ; nothing(1) ; raise('x') ; 'x' | int + 'y' ; 1 < 'a' ; n < 1 ; l < 1 ; [1] < ['a'] ; s > 1 ; 1 in 2 ; 1 in s ; n in s ; s in n ; l[s] ; l['0'] ; d[l] ; s[l] ; n[0] ; i[0]
[1.0, 'a'] ~ '' ; ['a'] ~ {'k': none} ; 1e16 ~ '' ; 1e-5 ~ '' ; (1.0) ~ 2 ; {'a': [1, {'b': 'c'}]} ~ s ; true ~ none ~ 1.5 ; 0.1 ~ 0.2 ~ ['x'] ; missing ~ missing ~ 1 ; u ~ q
"""

# Whole templates, likewise.
TEMPLATES = [
    "a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\n  {%- if true -%}\n  b\n  {%- endif -%}\n c", "  {{ s }}  \n", "{{- s -}}\n x", "a\r\n{% if t %}\r\nb\r\n{% endif %}\r\nc\r\n",
    "\n\n{{ s }}\n\n", "{% if t +%}\n  a{% endif %}", "  {%+ if t %}a{% endif %}", "{# c #}\nx", "  {# c #}  \nx", "{#- c -#}\n x", "{% raw %}\n{{ x }}{% endraw %}\ny", "{%- raw -%}\n a {% endraw %} b",
    "{% for x in l %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}", "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for x in [] %}a{% else %}none{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in s %}{{ c }}.{% endfor %}", "{% for x in missing %}a{% else %}e{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}:{{ x }} {% endfor %}", "{% for x in l %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}-{{ loop.nextitem }};{% endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in l %}{{ loop.changed(x > 1) }}{% endfor %}", "{% for k, v in d | items %}{{ k }}{% endfor %}", "{% for k, v in d | dictsort %}{{ k }}{% endfor %}", "{% for k, v in missing | items %}{{ k }}{% endfor %}", "{% for k, v in d.items() if k != 'a' %}{{ k }}{% endfor %}", "{% for k in d.keys() | sort %}{{ k }}{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{% endfor %}{{ x }}", "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% set x %}a{{ s }}b{% endset %}{{ x }}|{{ x | length }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set x = l %}{{ x }}",
    "{% if t %}{% set y = 1 %}{% endif %}{{ y }}", "{% with a = 1 %}{{ a }}{% endwith %}{{ a }}", "{% macro f(a, b='x') %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}{{ f(1, 2) }}{{ f(b=3, a=4) }}", "{% macro f(a) %}{{ caller() }}{{ a }}{% endmacro %}{% call f(1) %}x{% endcall %}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1) ~ 'x' }}{{ f('a') | upper }}|{{ f() }}",
    "{% macro f(n) %}{% if n > 0 %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}", "{% filter upper %}abc{{ s }}{% endfilter %}", "{% generation %}{{ s }}{% endgeneration %}", "a\n  {% generation %}\n b\n  {%- endgeneration %}\nc", "{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}",
    "{% for m in m %}{% generation %}{{ m.content }}{{ loop.index }}{% endgeneration %}{% endfor %}", "{{ '{% generation %}' }}", "{# {% generation %} #}x", "{% if missing is defined and missing %}a{% elif t %}b{% else %}c{% endif %}", "{% if not missing %}a{% endif %}", "{{ raise_exception('no: ' ~ s) }}", "{{ raise_exception(1) }}",
    "{{ missing.attribute }}", "{{ missing['x'] }}", "{{ missing() }}", "{{ s.nothing() }}", "{{ missing + 'x' }}", "{{ 'x' + missing }}", "{{ 'x' + 1 }}", "{{ 'x' + none }}", "{{ n.x }}", "{{ n + 1 }}", "{{ s | nothing }}", "{% nothing %}", "{{ s is nothing }}", "{% for %}", "{{ 1", "{% if t %}", "{{ l | join(d) }}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}",
    "{% set content = m[0]['content'] | trim + 'x' %}{{ content }}", "{% if m[0]['role'] == 'user' %}{{ '<' + m[0].role + '>' }}{% endif %}", "{% set l2 = m[1:] %}{% for x in l2 %}{{ x.content }}{% endfor %}{{ l2 | length }}", "{% for x in m[::-1] %}{{ x.role }}{% endfor %}", "{% set _ = l.append(4) %}{{ l }}", "{% set _ = d.update({'a': 1}) %}{{ d }}", "{% set d.x = 1 %}", "{% do l %}",
    "{{ m | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}", "{% set ns = namespace() %}{% set ns.a = [1] %}{% set ns.a = ns.a + [2] %}{{ ns.a }}", "{{ [1, 2] == [1, 2] }}{{ {'a': 1} == {'a': 1} }}", "{{ d['a'] is iterable and d['a'] is not string and d['a'] is not mapping }}", "{% if l | length > 2 and l[0] == 1 %}y{% endif %}", "{{ (m | last).content }}", "{{ m | length - 1 }}",
    "{{ {'a': 1, 'b': [1, {'c': none}]} | tojson }}", "{{ dict(name='x', arguments=d) | tojson }}", "{% set x = {'role': 'a', **d} %}{{ x }}", "{{ [1, *l] }}", "{{ 'a' if s is string else 'b' }}{{ 'x' if missing is defined }}", "{{ '\\n'.join(m | map(attribute='content')) }}", "{{ m | map(attribute='content') | join('\\n') }}", "{{ l | map('string') | join(',') }}", "{{ ['a b'] | map('split') | list }}", "{{ m | groupby('role') | list | length }}",
    "{% for x in n %}a{% endfor %}", "{% for x in none %}a{% else %}b{% endfor %}", "{% for x in i %}a{% endfor %}", "{% for x in n or [] %}a{% else %}b{% endfor %}", "{% for x in m[0].nothing %}a{% else %}b{% endfor %}", "{% for x in n if x %}a{% endfor %}", "{% for x in true %}{% endfor %}",
    "{% if false %}{{ 1 / 0 }}{% endif %}x", "{{ 1 / 0 if false else 'x' }}", "{% set x = 1 / 0 %}", "{% macro f() %}{{ 1 // 0 }}{% endmacro %}x", "{% macro f() %}{{ 1 // 0 }}{% endmacro %}{{ f() }}", "{% if t or 1 / 0 %}x{% endif %}", "{{ [1 / 0] }}", "{{ {'a': 1 % 0} }}", "{{ l[1 // 0] }}", "{{ (6 / 2) | int }}{{ 7 // 2 * 2 + 7 % 2 }}{{ 2 * 3 ** 2 / 9 }}{{ 1 ~ 2 * 3 }}{{ 10 - 4 // 3 }}",
    "{% if nothing is defined %}{{ nothing() }}{% endif %}x", "{% if nothing %}{{ nothing(1) }}{% endif %}x", "{{ nothing() if nothing is defined else 'x' }}", "{% if 'nothing' is filter %}{{ s | nothing }}{% endif %}x", "{% if 'nothing' is test %}{{ s is nothing }}{% endif %}x", "{% if 'upper' is filter %}{{ s | upper }}{% endif %}",
    "{{ f2() }}{% macro f2() %}x{% endmacro %}", "{% set f = joiner() %}{{ f() }}{{ f() }}", "{% macro f() %}{{ caller(1) }}{% endmacro %}{% call(x) f() %}{{ x }}{% endcall %}", "{% for x in [[1, [2]], [3]] recursive %}{{ loop(x) if x is iterable else x }}{% endfor %}", "{% for g in [range] %}{{ g(3) | list }}{% endfor %}", "{% with g = range %}{{ g(2) | list }}{% endwith %}", "{% macro f(g) %}{{ g(2) | list }}{% endmacro %}{{ f(range) }}", "{% block a %}{{ s | upper }}{% endblock %}",
    "a\n\n{{ s | nothing }}", "{{ m | map('nothing') | list }}", "{{ l | select('nothing') | list }}", "{{ m | selectattr('role', 'nothing') | list }}", "{% filter nothing %}x{% endfilter %}", "{% set x | nothing %}y{% endset %}", "{% set x | upper %}y{% endset %}{{ x }}", "{% include 'x' ignore missing %}", "{% from 'x' import y %}",
    "{{ joiner is defined }}{{ cycler is defined }}{{ strftime_now is defined }}{{ raise_exception is defined }}{{ debug is defined }}", "{% set x = joiner(', ') %}{{ x() }}a{{ x() }}b", "{{ x }}{% set x = 1 %}{{ x }}", "{% block a %}x{% endblock %}", "{% trans %}x{% endtrans %}",
]


# What Python renders and the engine refuses, so that no other text comes out.
UNSUPPORTED = [
    "{{ l | sum(start=10) }}",
    "{{ +i }}",
    "{{ s | wordcount }}",
    "{{ '%s' % s }}",
    "{{ '%d-%s' % (1, 'a') }}",
    "{{ s.casefold() }}",
    "{{ s.encode() }}",
    "{{ 5 | filesizeformat }}",
    "{{ s | truncate(5) }}",
    "{{ s | center(20) }}",
    "{{ s | wordwrap(5) }}",
    "{{ s | e }}",
    "{{ 'a<b' | e }}",
    "{{ 'a<b' | escape }}",
    "{{ ('a<b' | e) + '<c' }}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, a=2) }}",
    "{% autoescape true %}{{ '<' }}{% endautoescape %}",
    "{{ ('<b>' | safe) + '<c' }}",
    "{{ ('<b>' | safe) ~ '<c' }}",
    "{{ ('<b>' | safe) | upper }}",
    "{% if false %}{{ s | nothing }}{% endif %}",
    "{% if false %}{{ s is nothing }}{% endif %}",
    "{% if false %}{{ nothing() }}{% endif %}",
    "{% if false %}{% include 'x' %}{% endif %}",
]


def variables():
    """New ones each time, as a template may change them."""
    return copy.deepcopy(VARIABLES)


def cases():
    """Pairs of template and whether the engine supports it."""
    expressions = [part.strip() for line in EXPRESSIONS.strip().splitlines() for part in line.split(" ; ")]
    supported = ["{{ " + expression + " }}" for expression in expressions] + TEMPLATES
    return [(source, True) for source in supported] + [(source, False) for source in UNSUPPORTED]
