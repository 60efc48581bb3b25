//! What it may cost to check a value against a schema, counted before it is done.
//!
//! Every part of a schema is checked against every part of a value at most about once, if references
//! are written out where they stand. So a schema that refers to itself has no bound here.

use serde_json::Value;

/// Parts of a schema, at most.
const MAX_PARTS: usize = 10_000;
/// How deep they may lie inside each other, references included.
const MAX_DEPTH: usize = 200;
/// A pattern is compiled, which takes as long as many other parts.
const PATTERN_PARTS: usize = 200;

/// The number of parts, or why the schema cannot be used.
pub fn of_schema(schema: &Value) -> Result<usize, String> {
    let mut counter = Counter { root: schema, parts: 0, references: Vec::new() };
    counter.add(schema, 0)?;
    Ok(counter.parts)
}

/// The number of parts of a value; a string counts by its length.
pub fn of_value(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(of_value).sum::<usize>(),
        Value::Object(members) => {
            1 + members.iter().map(|(k, v)| k.len() / 64 + of_value(v)).sum::<usize>()
        }
        Value::String(text) => 1 + text.len() / 64,
        _ => 1,
    }
}

struct Counter<'a> {
    root: &'a Value,
    parts: usize,
    /// Where the references that are being written out lead to.
    references: Vec<*const Value>,
}

impl<'a> Counter<'a> {
    fn add(&mut self, value: &'a Value, depth: usize) -> Result<(), String> {
        self.take(1)?;
        if depth > MAX_DEPTH {
            return Err(format!("the schema is more than {MAX_DEPTH} parts deep"));
        }
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.add(item, depth + 1)),
            Value::Object(members) => members
                .iter()
                .try_for_each(|(key, value)| self.add_member(key, value, depth + 1)),
            _ => Ok(()),
        }
    }

    fn add_member(&mut self, key: &str, value: &'a Value, depth: usize) -> Result<(), String> {
        match (key, value) {
            ("$ref", Value::String(target)) => self.add_reference(target, depth),
            ("$dynamicRef" | "$recursiveRef" | "$id" | "id", Value::String(_)) => {
                Err(format!("the schema uses {key}"))
            }
            ("pattern", Value::String(_)) => self.take(PATTERN_PARTS),
            ("patternProperties", Value::Object(patterns)) => {
                self.take(patterns.len() * PATTERN_PARTS)?;
                self.add(value, depth)
            }
            _ => self.add(value, depth),
        }
    }

    fn add_reference(&mut self, target: &str, depth: usize) -> Result<(), String> {
        let Some(pointer) = target.strip_prefix('#') else {
            return Err("the schema refers to another document".to_string());
        };
        if !pointer.is_empty() && !pointer.starts_with('/') || pointer.contains('%') {
            return Err(format!("the schema refers to {target}"));
        }
        // What leads nowhere is for the compiler to refuse.
        let Some(referred) = self.root.pointer(pointer) else { return Ok(()) };
        let address: *const Value = referred;
        if self.references.contains(&address) || std::ptr::eq(referred, self.root) {
            return Err("the schema refers to itself".to_string());
        }
        self.references.push(address);
        let result = self.add(referred, depth);
        self.references.pop();
        result
    }

    fn take(&mut self, parts: usize) -> Result<(), String> {
        self.parts += parts;
        if self.parts > MAX_PARTS {
            return Err(format!("the schema has more than {MAX_PARTS} parts"));
        }
        Ok(())
    }
}
