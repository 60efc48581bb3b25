//! JSON Schema for C++: a schema compiled once, values checked against it from any thread.
//!
//! Schemas come from strangers, so the work that one can ask for is bounded before it is done (see
//! `cost`). No panic leaves a function of the C interface, whose contract is in ../schema.h.

mod cost;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use std::ffi::c_char;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// The part of a schema times the parts of a value that it is checked against, at most.
const MAX_CHECKS: usize = 400_000;
/// Of one compiled pattern, and of what matching it may remember.
const MAX_PATTERN_BYTES: usize = 128 << 10;
const MAX_MESSAGE_CHARS: usize = 300;

const OK: i32 = 0;
const INVALID: i32 = 1;
const UNCHECKED: i32 = 2;

#[derive(Debug, PartialEq)]
enum Refusal {
    Invalid(String),
    Unchecked(String),
}

pub struct Schema {
    validator: Validator,
    cost: usize,
}

fn compile(text: &[u8]) -> Result<Schema, Refusal> {
    let schema: Value =
        serde_json::from_slice(text).map_err(|e| Refusal::Invalid(e.to_string()))?;
    let cost = cost::of_schema(&schema).map_err(Refusal::Unchecked)?;
    let patterns =
        PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
    let validator =
        jsonschema::options().with_pattern_options(patterns).build(&schema).map_err(|e| {
            let at = e.instance_path().to_string();
            let message = if at.is_empty() { e.to_string() } else { format!("{at}: {e}") };
            // Patterns that are right but larger than the limit, or that look around, fail too.
            if at.contains("/pattern") {
                Refusal::Unchecked(message)
            } else {
                Refusal::Invalid(message)
            }
        })?;
    Ok(Schema { validator, cost })
}

fn check(schema: &Schema, text: &[u8]) -> Result<(), Refusal> {
    let value: Value = serde_json::from_slice(text).map_err(|e| Refusal::Invalid(e.to_string()))?;
    if cost::of_value(&value).saturating_mul(schema.cost) > MAX_CHECKS {
        return Err(Refusal::Unchecked("schema and value are too large together".to_string()));
    }
    schema.validator.validate(&value).map_err(|e| {
        let at = e.instance_path().to_string();
        Refusal::Invalid(if at.is_empty() { e.to_string() } else { format!("{at}: {e}") })
    })
}

/// Writes as many whole characters as fit.
unsafe fn write_message(text: &str, message: *mut c_char, message_bytes: usize) {
    if message_bytes == 0 {
        return;
    }
    let mut end = 0;
    for (i, c) in text.char_indices().take(MAX_MESSAGE_CHARS) {
        if i + c.len_utf8() >= message_bytes {
            break;
        }
        end = i + c.len_utf8();
    }
    std::ptr::copy_nonoverlapping(text.as_ptr(), message.cast::<u8>(), end);
    *message.add(end) = 0;
}

unsafe fn report(
    result: std::thread::Result<Result<(), Refusal>>,
    message: *mut c_char,
    message_bytes: usize,
) -> i32 {
    let (code, text) = match result {
        Ok(Ok(())) => (OK, String::new()),
        Ok(Err(Refusal::Invalid(text))) => (INVALID, text),
        Ok(Err(Refusal::Unchecked(text))) => (UNCHECKED, text),
        Err(_) => (UNCHECKED, "the checker failed".to_string()),
    };
    write_message(&text.replace('\0', " "), message, message_bytes);
    code
}

/// # Safety
/// As ../schema.h says.
#[no_mangle]
pub unsafe extern "C" fn phalanx_schema_compile(
    text: *const u8,
    bytes: usize,
    schema: *mut *mut Schema,
    message: *mut c_char,
    message_bytes: usize,
) -> i32 {
    let text = std::slice::from_raw_parts(text, bytes);
    *schema = std::ptr::null_mut();
    let result = catch_unwind(AssertUnwindSafe(|| {
        *schema = Box::into_raw(Box::new(compile(text)?));
        Ok(())
    }));
    report(result, message, message_bytes)
}

/// # Safety
/// As ../schema.h says.
#[no_mangle]
pub unsafe extern "C" fn phalanx_schema_check(
    schema: *const Schema,
    text: *const u8,
    bytes: usize,
    message: *mut c_char,
    message_bytes: usize,
) -> i32 {
    let text = std::slice::from_raw_parts(text, bytes);
    let result = catch_unwind(AssertUnwindSafe(|| check(&*schema, text)));
    report(result, message, message_bytes)
}

/// # Safety
/// As ../schema.h says.
#[no_mangle]
pub unsafe extern "C" fn phalanx_schema_free(schema: *mut Schema) {
    if !schema.is_null() {
        let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(schema))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(schema: &str, value: &str) -> Result<(), Refusal> {
        check(&compile(schema.as_bytes())?, value.as_bytes())
    }

    fn is_unchecked(schema: &str) -> bool {
        matches!(compile(schema.as_bytes()), Err(Refusal::Unchecked(_)))
    }

    #[test]
    fn checks_values() {
        let schema = r#"{"type":"object","properties":{"unit":{"enum":["c","f"]}},
                         "required":["city"],"additionalProperties":{"type":"string"}}"#;
        assert_eq!(outcome(schema, r#"{"city":"Oslo","unit":"c"}"#), Ok(()));
        let Err(Refusal::Invalid(why)) = outcome(schema, r#"{"unit":"k","city":"x"}"#) else {
            panic!()
        };
        assert!(why.starts_with("/unit: "), "{why}");
        assert!(outcome(schema, r#"{}"#).is_err());
    }

    #[test]
    fn refuses_what_is_no_schema() {
        for bad in [r#"{"type":"strin"}"#, r##"{"$ref":"#/nowhere"}"##, r#"{"minimum":"1"}"#, "{"] {
            assert!(matches!(compile(bad.as_bytes()), Err(Refusal::Invalid(_))), "{bad}");
        }
    }

    #[test]
    fn leaves_alone_what_has_no_bound() {
        for bad in [
            r##"{"$ref":"#"}"##,
            r##"{"$defs":{"a":{"items":{"$ref":"#/$defs/a"}}},"$ref":"#/$defs/a"}"##,
            r#"{"$ref":"http://localhost/x"}"#,
            r#"{"$ref":"file:///etc/passwd"}"#,
            r##"{"$dynamicRef":"#a"}"##,
            r#"{"pattern":"(?=a)b"}"#,
            r#"{"pattern":"(\\w{1000}){1000}"}"#,
        ] {
            assert!(is_unchecked(bad), "{bad}: {:?}", compile(bad.as_bytes()).err());
        }
    }

    #[test]
    fn doubles_are_not_followed() {
        let mut defs = r#""d0":{"type":"string"}"#.to_string();
        for i in 1..40 {
            let j = i - 1;
            defs += &format!(
                r##","d{i}":{{"allOf":[{{"$ref":"#/$defs/d{j}"}},{{"$ref":"#/$defs/d{j}"}}]}}"##
            );
        }
        assert!(is_unchecked(&format!(r##"{{"$defs":{{{defs}}},"$ref":"#/$defs/d39"}}"##)));
    }

    #[test]
    fn patterns_take_linear_time() {
        let value = format!("\"{}!\"", "a".repeat(50_000));
        let started = std::time::Instant::now();
        assert!(outcome(r#"{"pattern":"^(a+)+$"}"#, &value).is_err());
        assert!(started.elapsed().as_secs() < 2);
    }

    #[test]
    fn large_products_are_left_alone() {
        let schema = format!(r#"{{"items":{{"enum":[{}1]}}}}"#, "0,".repeat(5000));
        let value = format!("[{}1]", "1,".repeat(5000));
        assert!(matches!(outcome(&schema, &value), Err(Refusal::Unchecked(_))));
    }
}
