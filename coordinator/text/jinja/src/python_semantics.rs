//! Values as Python sees them: what Jinja2 prints and tests and minijinja does differently.
//!
//! Not followed, as the engine leaves no way to it; real chat templates have none of these:
//! - Tuples are lists: `{{ (1, 2) }}` writes [1, 2].
//! - Attributes of Python's objects other than methods of strings, lists and dicts.

use crate::python_text;
use indexmap::IndexMap;
use minijinja::value::{Enumerator, Kwargs, Object, ObjectExt, ObjectRepr, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Output, State};
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

/// A list of the caller.
#[derive(Debug)]
struct List(Vec<Value>);

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_usize()?).cloned()
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&python_text::repr(&Value::from_dyn_object(self.clone())))
    }
}

/// A dict of the caller.
#[derive(Debug)]
struct Dict(IndexMap<Value, Value>);

impl Object for Dict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key).cloned()
    }
    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_key_value_enumerator(|this| {
            Box::new(this.0.iter().map(|(key, value)| (key.clone(), value.clone())))
        })
    }
    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.0.len())
    }
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&python_text::repr(&Value::from_dyn_object(self.clone())))
    }
}

/// A text that the filter `safe` marked. It can be written out; where it is joined to another, Jinja2
/// would escape that one, and here MISUSED in the output gives it away.
#[derive(Debug)]
struct Markup(String);

/// No character of a text.
pub const MISUSED: &str = "\u{10fffe}\u{10ffff}";

impl Object for Markup {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
    fn is_true(self: &Arc<Self>) -> bool {
        !self.0.is_empty()
    }
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MISUSED)
    }
}

fn safe(value: &Value) -> Value {
    Value::from_object(Markup(python_text::str(value)))
}

/// What a caller sent, as a template's value.
pub fn from_json(json: serde_json::Value) -> Value {
    match json {
        serde_json::Value::Array(items) => {
            Value::from_object(List(items.into_iter().map(from_json).collect()))
        }
        serde_json::Value::Object(entries) => Value::from_object(Dict(
            entries.into_iter().map(|(key, item)| (Value::from(key), from_json(item))).collect(),
        )),
        scalar => Value::from_serialize(scalar),
    }
}

thread_local! {
    /// Bytes that the rendering of this thread may still write.
    static OUTPUT_LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Limits what this thread's next rendering writes, captured text included.
pub fn limit_output(bytes: usize) {
    OUTPUT_LEFT.set(bytes);
}

fn write(out: &mut Output, text: &str) -> Result<(), Error> {
    let left = OUTPUT_LEFT.get().checked_sub(text.len());
    OUTPUT_LEFT.set(left.ok_or_else(|| Error::from(ErrorKind::WriteFailure))?);
    out.write_str(text).map_err(Error::from)
}

fn format(out: &mut Output, state: &State, value: &Value) -> Result<(), Error> {
    if !matches!(state.auto_escape(), AutoEscape::None) {
        return no_html(value).map(|_| ());
    }
    let markup = value.downcast_object_ref::<Markup>().map(|markup| markup.0.as_str());
    match value.as_str().or(markup) {
        Some(text) => write(out, text),
        None => write(out, &python_text::str(value)),
    }
}

fn join(value: &Value, separator: Option<&Value>, kwargs: Kwargs) -> Result<String, Error> {
    not_none(value)?;
    let attribute: Option<Value> = kwargs.get("attribute")?;
    let named: Option<Value> = kwargs.get("d")?;
    kwargs.assert_all_used()?;
    let separator = separator.or(named.as_ref()).map(python_text::str).unwrap_or_default();
    let mut parts = Vec::new();
    for item in value.try_iter()? {
        parts.push(python_text::str(&match &attribute {
            Some(key) => item.get_item(key)?,
            None => item,
        }));
    }
    Ok(parts.join(&separator))
}

fn trim(value: &Value, chars: Option<&str>) -> String {
    python_text::strip(&python_text::str(value), chars, true, true).to_string()
}

fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, format!("{} has no length", value.kind()))
    })
}

/// json.dumps under the names of its arguments.
fn to_json(value: &Value, kwargs: Kwargs) -> Result<Value, Error> {
    let mut style = python_text::JsonStyle {
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ..python_text::JsonStyle::default()
    };
    if let Some(indent) = kwargs.get::<Option<Value>>("indent")? {
        style.indent = Some(match indent.as_str() {
            Some(text) => text.to_string(),
            None => " ".repeat(usize::try_from(indent)?),
        });
        style.item_separator = ",".into();
    }
    if let Some(separators) = kwargs.get::<Option<Vec<String>>>("separators")? {
        let [item, key] = <[String; 2]>::try_from(separators).map_err(|_| {
            Error::new(ErrorKind::InvalidOperation, "tojson: separators must be a pair")
        })?;
        style.item_separator = item;
        style.key_separator = key;
    }
    kwargs.assert_all_used()?;
    Ok(Value::from_safe_string(python_text::json(value, &style)?))
}

/// Nobody's filter in Jinja2, yet several published templates use it, where a tool call's arguments
/// are a text.
fn from_json_text(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map(from_json).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, format!("fromjson: {error}"))
    })
}

fn first(value: &Value) -> Result<Value, Error> {
    if value.is_undefined() { Ok(Value::UNDEFINED) } else { minijinja::filters::first(value) }
}

fn last(value: Value) -> Result<Value, Error> {
    if value.is_undefined() { Ok(Value::UNDEFINED) } else { minijinja::filters::last(value) }
}

fn list(state: &State, value: Value) -> Result<Value, Error> {
    not_none(&value)?;
    minijinja::filters::list(state, value)
}

fn not_none(value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Err(Error::new(ErrorKind::InvalidOperation, "none is not iterable"));
    }
    Ok(())
}

fn defined(value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    Ok(())
}

fn items(value: &Value) -> Result<Vec<Value>, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(Vec::new()),
        ValueKind::Map => Ok(python_text::entries(value)
            .map(|(key, item)| Value::from(vec![key, item]))
            .collect()),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "items: not a mapping")),
    }
}

fn replace(value: &Value, old: &Value, new: &Value, count: Option<usize>) -> String {
    let (text, old, new) = (python_text::str(value), python_text::str(old), python_text::str(new));
    match count {
        Some(count) => text.replacen(&old, &new, count),
        None => text.replace(&old, &new),
    }
}

fn title(value: &Value) -> String {
    python_text::title_words(&python_text::str(value))
}

fn indent(
    value: &Value,
    width: Option<Value>,
    first: Option<bool>,
    blank: Option<bool>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    defined(value)?;
    if value.is_none() {
        return Err(Error::new(ErrorKind::InvalidOperation, "indent: not a text"));
    }
    let width = width.or(kwargs.get("width")?).unwrap_or_else(|| Value::from(4));
    let first = first.or(kwargs.get("first")?).unwrap_or(false);
    let blank = blank.or(kwargs.get("blank")?).unwrap_or(false);
    kwargs.assert_all_used()?;
    let indention = match width.as_str() {
        Some(text) => text.to_string(),
        None => " ".repeat(usize::try_from(width)?),
    };
    Ok(python_text::indent(&python_text::str(value), &indention, first, blank))
}

fn int(value: &Value, default: Option<i64>, kwargs: Kwargs) -> Result<Value, Error> {
    defined(value)?;
    let default = default.or(kwargs.get("default")?).unwrap_or(0);
    kwargs.assert_all_used()?;
    if value.is_integer() {
        return Ok(value.clone());
    }
    if let Some(text) = value.as_str() {
        return Ok(Value::from(python_text::parse_int(text).unwrap_or(default)));
    }
    Ok(Value::from(match value.kind() {
        ValueKind::Bool => i64::from(value.is_true()),
        ValueKind::Number => f64::try_from(value.clone())? as i64,
        _ => default,
    }))
}

fn float(value: &Value, default: Option<f64>, kwargs: Kwargs) -> Result<f64, Error> {
    defined(value)?;
    let default = default.or(kwargs.get("default")?).unwrap_or(0.0);
    kwargs.assert_all_used()?;
    Ok(match value.as_str() {
        Some(text) => text.trim().parse().unwrap_or(default),
        None => f64::try_from(value.clone()).unwrap_or(default),
    })
}

/// Half to even, of the exact decimal value.
fn round(value: f64, precision: Option<usize>, method: Option<&str>) -> Result<f64, Error> {
    let precision = precision.unwrap_or(0).min(17);
    let scale = 10f64.powi(precision as i32);
    match method.unwrap_or("common") {
        "common" => Ok(format!("{value:.precision$}").parse().unwrap_or(value)),
        "ceil" => Ok((value * scale).ceil() / scale),
        "floor" => Ok((value * scale).floor() / scale),
        _ => Err(Error::new(ErrorKind::InvalidOperation, "round: unknown method")),
    }
}

/// What it makes of a text would turn into more HTML wherever it is joined to another.
fn no_html(_value: &Value) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "HTML is not supported"))
}

fn is_callable(value: &Value) -> bool {
    value.kind() == ValueKind::Plain && value.downcast_object_ref::<Markup>().is_none()
}

fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
}

fn is_iterable(value: &Value) -> bool {
    !value.is_none() && value.try_iter().is_ok()
}

fn is_number(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Number | ValueKind::Bool)
}

fn methods(state: &State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if let Some(result) = python_text::method(text, name, args)? {
            return Ok(result);
        }
    }
    if name == "index" && value.kind() == ValueKind::Seq {
        let (what,): (&Value,) = minijinja::value::from_args(args)?;
        let found = value.try_iter()?.position(|item| item == *what);
        return found.map(Value::from).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, "index: the item is not in the list")
        });
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Teaches an environment what this module and python_text know.
pub fn install(environment: &mut Environment) {
    environment.set_formatter(format);
    environment.set_unknown_method_callback(methods);
    environment.add_filter("tojson", to_json);
    environment.add_filter("fromjson", from_json_text);
    environment.add_filter("from_json", from_json_text);
    environment.add_filter("string", python_text::str);
    environment.add_filter("join", join);
    environment.add_filter("trim", trim);
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_filter("first", first);
    environment.add_filter("last", last);
    environment.add_filter("list", list);
    environment.add_filter("items", items);
    environment.add_filter("replace", replace);
    environment.add_filter("title", title);
    environment.add_filter("indent", indent);
    environment.add_filter("int", int);
    environment.add_filter("float", float);
    environment.add_filter("round", round);
    environment.add_filter("safe", safe);
    environment.add_filter("e", no_html);
    environment.add_filter("escape", no_html);
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_function("cycler", minijinja_contrib::globals::cycler);
    environment.add_test("callable", is_callable);
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    environment.add_test("number", is_number);
    // What Jinja2 does not have.
    environment.remove_global("debug");
    for name in ["split", "lines", "chain", "zip", "bool"] {
        environment.remove_filter(name);
    }
    for name in ["startingwith", "endingwith"] {
        environment.remove_test(name);
    }
}
