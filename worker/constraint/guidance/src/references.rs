//! How deep the references of a JSON schema are, for which llguidance has no limit of its own.

use serde_json::Value;
use std::collections::HashSet;

/// An error if references lead to one another over more than `max_depth` steps: the compiler
/// follows them by recursion.
pub fn check(schema: &Value, max_depth: u64) -> Result<(), String> {
    let mut seen = HashSet::new();
    check_references(schema, schema, max_depth, &mut seen)
}

fn check_references<'a>(
    root: &'a Value,
    value: &'a Value,
    depth_left: u64,
    seen: &mut HashSet<&'a str>,
) -> Result<(), String> {
    match value {
        Value::Array(items) => {
            items.iter().try_for_each(|item| check_references(root, item, depth_left, seen))
        }
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                if seen.insert(target) {
                    if depth_left == 0 {
                        return Err("its references are too deep".into());
                    }
                    if let Some(definition) = target.strip_prefix('#').and_then(|p| root.pointer(p)) {
                        check_references(root, definition, depth_left - 1, seen)?;
                    }
                }
            }
            members.values().try_for_each(|member| check_references(root, member, depth_left, seen))
        }
        _ => Ok(()),
    }
}
