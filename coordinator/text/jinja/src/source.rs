//! Template sources, rewritten where Jinja2 as transformers sets it up reads them otherwise.

/// What begins at a delimiter, to behind its end. Quotes hide an end, but for comments.
fn tag_length(text: &str, end: &str, quotes: bool) -> usize {
    let mut quote = None;
    let mut rest = text.char_indices().skip(2).peekable();
    while let Some((at, c)) = rest.next() {
        match quote {
            Some(_) if c == '\\' => {
                rest.next();
            }
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if text[at..].starts_with(end) => return at + end.len(),
            None if quotes && (c == '"' || c == '\'') => quote = Some(c),
            None => {}
        }
    }
    text.len()
}

fn find_tag(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    bytes.windows(2).position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'))
}

/// The word of a block tag that has nothing else in it.
fn lone_word(tag: &str) -> &str {
    let inside = tag.strip_prefix("{%").and_then(|tag| tag.strip_suffix("%}")).unwrap_or("");
    let inside = inside.strip_prefix(['-', '+']).unwrap_or(inside);
    inside.strip_suffix(['-', '+']).unwrap_or(inside).trim()
}

/// - Line ends become \n.
/// - `generation` blocks, which mark what the model has written, are blocks with variables of their
///   own.
/// - trim_blocks takes no newline behind `raw`.
pub fn adapt(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = find_tag(rest) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let tag = match &rest[..2] {
            "{{" => &rest[..tag_length(rest, "}}", true)],
            "{%" => &rest[..tag_length(rest, "%}", true)],
            _ => &rest[..tag_length(rest, "#}", false)],
        };
        rest = &rest[tag.len()..];
        match lone_word(tag) {
            "generation" => out.push_str(&tag.replace("generation", "with")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endwith")),
            "raw" => {
                let ended = tag.ends_with("-%}") || tag.ends_with("+%}");
                out.push_str(&tag.replace("%}", if ended { "%}" } else { "+%}" }));
                rest = copy_raw(rest, &mut out);
            }
            _ => out.push_str(tag),
        }
    }
    out.push_str(rest);
    out
}

/// Up to and with the tag that ends a raw block; returns what follows.
fn copy_raw<'a>(text: &'a str, out: &mut String) -> &'a str {
    let mut at = 0;
    while let Some(found) = text[at..].find("{%") {
        let tag = at + found;
        let end = tag + tag_length(&text[tag..], "%}", false);
        if lone_word(&text[tag..end]) == "endraw" {
            out.push_str(&text[..end]);
            return &text[end..];
        }
        at = tag + 2;
    }
    out.push_str(text);
    ""
}
