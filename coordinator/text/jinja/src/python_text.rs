//! Python's str(), repr(), json.dumps and methods of str.

use minijinja::value::{from_args, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use std::fmt::Write;

/// repr of a float: the fewest digits that give it, with an exponent below 1e-4 and from 1e16.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = value.to_string();
    if plain.contains('.') {
        plain
    } else {
        plain + ".0"
    }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if is_printable(c) => out.push(c),
            c if (c as u32) < 0x100 => write!(out, "\\x{:02x}", c as u32).unwrap_or(()),
            c if (c as u32) < 0x10000 => write!(out, "\\u{:04x}", c as u32).unwrap_or(()),
            c => write!(out, "\\U{:08x}", c as u32).unwrap_or(()),
        }
    }
    out.push(quote);
    out
}

/// As str.isprintable, but for unassigned code points, which count as printable here.
fn is_printable(c: char) -> bool {
    let hidden = matches!(c as u32,
        0..=0x1f | 0x7f..=0xa0 | 0xad | 0x600..=0x605 | 0x61c | 0x6dd | 0x70f | 0x890..=0x891 | 0x8e2
        | 0x1680 | 0x180e | 0x2000..=0x200f | 0x2028..=0x202f | 0x205f..=0x2064 | 0x2066..=0x206f
        | 0x3000 | 0xe000..=0xf8ff | 0xfeff | 0xfff9..=0xfffb | 0x110bd | 0x110cd
        | 0x13430..=0x1343f | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0001 | 0xe0020..=0xe007f
        | 0xf0000..=0xffffd | 0x100000..=0x10fffd);
    !hidden
}

pub fn repr(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => quoted(value.as_str().unwrap_or_default()),
        ValueKind::Undefined => "Undefined".into(),
        _ => str(value),
    }
}

fn is_float(value: &Value) -> bool {
    value.kind() == ValueKind::Number && !value.is_integer()
}

pub fn str(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => value.as_str().unwrap_or_default().to_string(),
        ValueKind::Number if is_float(value) => {
            f64::try_from(value.clone()).map(float).unwrap_or_default()
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items = value.try_iter().into_iter().flatten();
            format!("[{}]", items.map(|item| repr(&item)).collect::<Vec<_>>().join(", "))
        }
        ValueKind::Map => format!(
            "{{{}}}",
            entries(value)
                .map(|(key, item)| format!("{}: {}", repr(&key), repr(&item)))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        _ => value.to_string(),
    }
}

pub fn entries(map: &Value) -> impl Iterator<Item = (Value, Value)> + '_ {
    map.try_iter().into_iter().flatten().map(|key| {
        let item = map.get_item(&key).unwrap_or(Value::UNDEFINED);
        (key, item)
    })
}

/// The arguments of json.dumps.
pub struct JsonStyle {
    pub ensure_ascii: bool,
    pub sort_keys: bool,
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
}

impl Default for JsonStyle {
    fn default() -> Self {
        JsonStyle {
            ensure_ascii: false,
            sort_keys: false,
            indent: None,
            item_separator: ", ".into(),
            key_separator: ": ".into(),
        }
    }
}

pub fn json(value: &Value, style: &JsonStyle) -> Result<String, Error> {
    let mut out = String::new();
    write_json(value, style, 0, &mut out)?;
    Ok(out)
}

fn json_string(text: &str, ensure_ascii: bool, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || (ensure_ascii && (c as u32) > 0x7e) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").unwrap_or(());
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn new_line(style: &JsonStyle, depth: usize, out: &mut String) {
    if let Some(indent) = &style.indent {
        out.push('\n');
        out.push_str(&indent.repeat(depth));
    }
}

fn write_json(
    value: &Value,
    style: &JsonStyle,
    depth: usize,
    out: &mut String,
) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number if is_float(value) => out.push_str(&match str(value).as_str() {
            "nan" => "NaN".to_string(),
            "inf" => "Infinity".to_string(),
            "-inf" => "-Infinity".to_string(),
            text => text.to_string(),
        }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => {
            json_string(value.as_str().unwrap_or_default(), style.ensure_ascii, out)
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            let mut empty = true;
            for item in value.try_iter()? {
                if !empty {
                    out.push_str(&style.item_separator);
                }
                empty = false;
                new_line(style, depth + 1, out);
                write_json(&item, style, depth + 1, out)?;
            }
            if !empty {
                new_line(style, depth, out);
            }
            out.push(']');
        }
        ValueKind::Map => {
            let mut all: Vec<_> = entries(value).collect();
            if style.sort_keys {
                all.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            out.push('{');
            for (i, (key, item)) in all.iter().enumerate() {
                if i > 0 {
                    out.push_str(&style.item_separator);
                }
                new_line(style, depth + 1, out);
                json_key(key, style, out)?;
                out.push_str(&style.key_separator);
                write_json(item, style, depth + 1, out)?;
            }
            if !all.is_empty() {
                new_line(style, depth, out);
            }
            out.push('}');
        }
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("{kind} is not JSON serializable"),
            ))
        }
    }
    Ok(())
}

fn json_key(key: &Value, style: &JsonStyle, out: &mut String) -> Result<(), Error> {
    let mut text = String::new();
    match key.kind() {
        ValueKind::String => text.push_str(key.as_str().unwrap_or_default()),
        ValueKind::None | ValueKind::Bool | ValueKind::Number => {
            write_json(key, style, 0, &mut text)?
        }
        kind => {
            return Err(Error::new(
                ErrorKind::BadSerialization,
                format!("{kind} is no key of a JSON object"),
            ))
        }
    }
    json_string(&text, style.ensure_ascii, out);
    Ok(())
}

/// As str.isspace.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

pub fn strip<'a>(text: &'a str, chars: Option<&str>, left: bool, right: bool) -> &'a str {
    let goes = |c: char| match chars {
        Some(chars) => chars.contains(c),
        None => is_space(c),
    };
    let text = if left { text.trim_start_matches(goes) } else { text };
    if right {
        text.trim_end_matches(goes)
    } else {
        text
    }
}

fn strings<'a>(parts: impl Iterator<Item = &'a str>) -> Value {
    parts.map(Value::from).collect()
}

fn split(text: &str, separator: Option<&str>, most: Option<i64>) -> Result<Value, Error> {
    let most = usize::try_from(most.unwrap_or(-1)).unwrap_or(usize::MAX - 1);
    match separator {
        Some("") => Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        Some(separator) => Ok(strings(text.splitn(most + 1, separator))),
        None => {
            let mut parts = Vec::new();
            let mut rest = strip(text, None, true, false);
            while !rest.is_empty() {
                if parts.len() == most {
                    parts.push(strip(rest, None, false, true));
                    break;
                }
                let end = rest.find(is_space).unwrap_or(rest.len());
                parts.push(&rest[..end]);
                rest = strip(&rest[end..], None, true, false);
            }
            Ok(strings(parts.into_iter()))
        }
    }
}

fn rsplit(text: &str, separator: Option<&str>, most: Option<i64>) -> Result<Value, Error> {
    let separator = match (separator, most) {
        (None, None) => return split(text, None, None),
        (None, Some(_)) => {
            return Err(Error::new(ErrorKind::InvalidOperation, "rsplit needs a separator"))
        }
        (Some(""), _) => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        (Some(separator), _) => separator,
    };
    let most = usize::try_from(most.unwrap_or(-1)).unwrap_or(usize::MAX - 1);
    let mut parts: Vec<&str> = text.rsplitn(most + 1, separator).collect();
    parts.reverse();
    Ok(strings(parts.into_iter()))
}

/// As str.splitlines.
fn split_lines(text: &str, keep_ends: bool) -> Value {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_end = |c: char| {
            matches!(c, '\n' | '\r' | '\x0b' | '\x0c' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}'
                | '\u{2029}')
        };
        let Some(end) = rest.find(is_end) else {
            lines.push(rest);
            break;
        };
        let width = if rest[end..].starts_with("\r\n") {
            2
        } else {
            rest[end..].chars().next().map_or(0, char::len_utf8)
        };
        lines.push(if keep_ends { &rest[..end + width] } else { &rest[..end] });
        rest = &rest[end + width..];
    }
    strings(lines.into_iter())
}

/// The position in characters.
fn find(text: &str, what: &str, last: bool) -> i64 {
    let found = if last { text.rfind(what) } else { text.find(what) };
    found.map_or(-1, |at| text[..at].chars().count() as i64)
}

/// As str.title and str.capitalize, the latter if `first_only`.
fn title(text: &str, first_only: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = first_only || c.is_alphabetic();
    }
    out
}

fn pad(text: &str, width: usize, fill: char, method: &str) -> String {
    let missing = width.saturating_sub(text.chars().count());
    let left = match method {
        "ljust" => 0,
        "rjust" => missing,
        // CPython's rounding.
        _ => missing / 2 + (missing & width & 1),
    };
    let fill = fill.to_string();
    format!("{}{text}{}", fill.repeat(left), fill.repeat(missing - left))
}

/// The filter of this name, which begins a word elsewhere than the method.
pub fn title_words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        let separates = is_space(c) || "-({[<".contains(c);
        if inside {
            out.extend(c.to_lowercase());
        } else {
            out.extend(c.to_uppercase());
        }
        inside = !separates;
    }
    out
}

/// The filter `indent`.
pub fn indent(text: &str, indention: &str, first: bool, blank: bool) -> String {
    let text = format!("{text}\n");
    let lines = split_lines(&text, false);
    let mut out = String::new();
    for (i, line) in lines.try_iter().into_iter().flatten().enumerate() {
        let line = line.as_str().unwrap_or_default().to_string();
        if i > 0 {
            out.push('\n');
        }
        let wanted = if i == 0 { first } else { blank || !line.is_empty() };
        if wanted {
            out.push_str(indention);
        }
        out.push_str(&line);
    }
    out
}

/// int() of a text, or what int(float()) makes of it.
pub fn parse_int(text: &str) -> Option<i64> {
    let text = strip(text, None, true, true).replace('_', "");
    text.parse().ok().or_else(|| {
        let value = text.parse::<f64>().ok()?;
        value.is_finite().then_some(value as i64)
    })
}

/// Whether there are cased letters and all of them are of the case.
fn all_of_case(text: &str, upper: bool) -> bool {
    let mut some = false;
    for c in text.chars() {
        if if upper { c.is_lowercase() } else { c.is_uppercase() } {
            return false;
        }
        some |= if upper { c.is_uppercase() } else { c.is_lowercase() };
    }
    some
}

fn all_chars(text: &str, is_kind: impl Fn(char) -> bool) -> Value {
    Value::from(!text.is_empty() && text.chars().all(is_kind))
}

/// Calls a method of str; nothing if it is not one of those that differ from the engine's.
pub fn method(text: &str, name: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let result = match name {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(args)?;
            Value::from(strip(text, chars, name != "rstrip", name != "lstrip"))
        }
        "split" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            split(text, separator, most)?
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            rsplit(text, separator, most)?
        }
        "splitlines" => {
            let (keep_ends,): (Option<bool>,) = from_args(args)?;
            split_lines(text, keep_ends.unwrap_or(false))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let parts = if name == "partition" {
                text.split_once(separator)
            } else {
                text.rsplit_once(separator)
            };
            match parts {
                Some((before, after)) => strings([before, separator, after].into_iter()),
                None if name == "partition" => strings([text, "", ""].into_iter()),
                None => strings(["", "", text].into_iter()),
            }
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "find" | "rfind" => {
            let (what,): (&str,) = from_args(args)?;
            Value::from(find(text, what, name == "rfind"))
        }
        "index" | "rindex" => {
            let (what,): (&str,) = from_args(args)?;
            match find(text, what, name == "rindex") {
                -1 => return Err(Error::new(ErrorKind::InvalidOperation, "substring not found")),
                at => Value::from(at),
            }
        }
        "join" => {
            let (values,): (&Value,) = from_args(args)?;
            let mut parts = Vec::new();
            for value in values.try_iter()? {
                let part = value.as_str().map(str::to_string);
                parts.push(part.ok_or_else(|| {
                    Error::new(ErrorKind::InvalidOperation, "join: an item is not a string")
                })?);
            }
            Value::from(parts.join(text))
        }
        "title" | "capitalize" => {
            let () = from_args(args)?;
            Value::from(title(text, name == "capitalize"))
        }
        "center" | "ljust" | "rjust" => {
            let (width, fill): (usize, Option<char>) = from_args(args)?;
            Value::from(pad(text, width, fill.unwrap_or(' '), name))
        }
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let sign = &text[..text.len() - digits.len()];
            let width = width.saturating_sub(sign.len());
            Value::from(format!("{sign}{}", pad(digits, width, '0', "rjust")))
        }
        "swapcase" => Value::from(
            text.chars()
                .flat_map(|c| -> Box<dyn Iterator<Item = char>> {
                    if c.is_uppercase() {
                        Box::new(c.to_lowercase())
                    } else {
                        Box::new(c.to_uppercase())
                    }
                })
                .collect::<String>(),
        ),
        "isspace" => all_chars(text, is_space),
        "isdigit" | "isdecimal" => all_chars(text, |c| c.is_ascii_digit()),
        "isalpha" => all_chars(text, char::is_alphabetic),
        "isalnum" => all_chars(text, char::is_alphanumeric),
        "isnumeric" => all_chars(text, char::is_numeric),
        "isupper" => Value::from(all_of_case(text, true)),
        "islower" => Value::from(all_of_case(text, false)),
        _ => return Ok(None),
    };
    Ok(Some(result))
}
