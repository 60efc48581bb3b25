//! Values as Python sees them: what Jinja2 prints and tests and minijinja does differently.
//!
//! Not followed, as the engine leaves no way to it; real chat templates have none of these:
//! - `~` with a list or a dict that the template itself wrote, or a float of 1e16 and more or below
//!   1e-4, writes it in the engine's way ("a" and not 'a'). What callers sent is written in Python's.
//! - Tuples are lists: `{{ (1, 2) }}` writes [1, 2].
//! - Attributes of Python's objects other than methods of strings, lists and dicts.

use crate::python_text;
use indexmap::IndexMap;
use minijinja::value::{Enumerator, Kwargs, Object, ObjectExt, ObjectRepr, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State};
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

fn format(out: &mut Output, _state: &State, value: &Value) -> Result<(), Error> {
    match value.as_str() {
        Some(text) => out.write_str(text).map_err(Error::from),
        None => out.write_str(&python_text::str(value)).map_err(Error::from),
    }
}

fn join(value: &Value, separator: Option<&Value>, kwargs: Kwargs) -> Result<String, Error> {
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
            None => " ".repeat(usize::try_from(indent)?.min(64)),
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

fn is_sequence(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::String | ValueKind::Map)
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
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// Teaches an environment what this module and python_text know.
pub fn install(environment: &mut Environment) {
    environment.set_formatter(format);
    environment.set_unknown_method_callback(methods);
    environment.add_filter("tojson", to_json);
    environment.add_filter("string", python_text::str);
    environment.add_filter("join", join);
    environment.add_filter("trim", trim);
    environment.add_filter("length", length);
    environment.add_filter("count", length);
    environment.add_test("sequence", is_sequence);
    environment.add_test("number", is_number);
}
