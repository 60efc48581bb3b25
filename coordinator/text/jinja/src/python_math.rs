//! Operators of Python that the engine computes otherwise, as filters of two values: what
//! rewrite.rs puts in their place.

use crate::python_text;
use crate::rewrite;
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use std::cmp::Ordering;

enum Numbers {
    Ints(i128, i128),
    Floats(f64, f64),
}

fn failure(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn division_by_zero() -> Error {
    failure("division by zero")
}

/// True is 1.
fn int_of(value: &Value) -> Option<i128> {
    match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    }
}

fn float_of(value: &Value) -> Option<f64> {
    match value.kind() {
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        _ => int_of(value).map(|int| int as f64),
    }
}

fn numbers(operator: &str, left: &Value, right: &Value) -> Result<Numbers, Error> {
    if let (Some(left), Some(right)) = (int_of(left), int_of(right)) {
        return Ok(Numbers::Ints(left, right));
    }
    match (float_of(left), float_of(right)) {
        (Some(left), Some(right)) => Ok(Numbers::Floats(left, right)),
        _ if left.is_undefined() || right.is_undefined() => {
            Err(Error::from(ErrorKind::UndefinedError))
        }
        _ => Err(failure(format!("no {operator} for {} and {}", left.kind(), right.kind()))),
    }
}

fn from_int(int: Option<i128>) -> Result<Value, Error> {
    let int = int.ok_or_else(|| failure("a number is too large"))?;
    Ok(i64::try_from(int).map_or_else(|_| Value::from(int), Value::from))
}

fn divide(left: &Value, right: &Value) -> Result<Value, Error> {
    let (left, right) = match numbers(rewrite::DIVIDE, left, right)? {
        Numbers::Ints(left, right) => (left as f64, right as f64),
        Numbers::Floats(left, right) => (left, right),
    };
    if right == 0.0 {
        return Err(division_by_zero());
    }
    Ok(Value::from(left / right))
}

/// Towards minus infinity.
fn floor_divide_ints(left: i128, right: i128) -> Option<i128> {
    let quotient = left.checked_div(right)?;
    let rounded_up = left % right != 0 && (left < 0) != (right < 0);
    Some(if rounded_up { quotient - 1 } else { quotient })
}

/// As CPython's float_divmod: the remainder has the sign of the divisor.
fn divide_floats(left: f64, right: f64) -> (f64, f64) {
    let mut remainder = left % right;
    let mut quotient = (left - remainder) / right;
    if remainder == 0.0 {
        remainder = 0f64.copysign(right);
    } else if (right < 0.0) != (remainder < 0.0) {
        remainder += right;
        quotient -= 1.0;
    }
    if quotient == 0.0 {
        return (0f64.copysign(left / right), remainder);
    }
    let floor = quotient.floor();
    (if quotient - floor > 0.5 { floor + 1.0 } else { floor }, remainder)
}

fn floor_divide(left: &Value, right: &Value) -> Result<Value, Error> {
    match numbers(rewrite::FLOOR_DIVIDE, left, right)? {
        Numbers::Ints(_, 0) => Err(division_by_zero()),
        Numbers::Floats(_, right) if right == 0.0 => Err(division_by_zero()),
        Numbers::Ints(left, right) => from_int(floor_divide_ints(left, right)),
        Numbers::Floats(left, right) => Ok(Value::from(divide_floats(left, right).0)),
    }
}

fn remainder(left: &Value, right: &Value) -> Result<Value, Error> {
    if left.as_str().is_some() {
        return Err(failure("% of a text is not supported; use the filter `format`"));
    }
    match numbers(rewrite::REMAINDER, left, right)? {
        Numbers::Ints(_, 0) => Err(division_by_zero()),
        Numbers::Floats(_, right) if right == 0.0 => Err(division_by_zero()),
        Numbers::Ints(left, right) => from_int(
            floor_divide_ints(left, right)
                .and_then(|quotient| quotient.checked_mul(right))
                .and_then(|product| left.checked_sub(product)),
        ),
        Numbers::Floats(left, right) => Ok(Value::from(divide_floats(left, right).1)),
    }
}

fn power(left: &Value, right: &Value) -> Result<Value, Error> {
    let (left, right) = match numbers(rewrite::POWER, left, right)? {
        Numbers::Ints(left, right) if right >= 0 => {
            let exponent = u32::try_from(right).ok();
            return match left {
                // Whatever the exponent.
                0 | 1 if right > 0 => from_int(Some(left)),
                _ => from_int(exponent.and_then(|exponent| left.checked_pow(exponent))),
            };
        }
        Numbers::Ints(left, right) => (left as f64, right as f64),
        Numbers::Floats(left, right) => (left, right),
    };
    if left == 0.0 && right < 0.0 {
        return Err(division_by_zero());
    }
    if left < 0.0 && left.is_finite() && right.is_finite() && right.fract() != 0.0 {
        return Err(failure("complex numbers are not supported"));
    }
    let result = left.powf(right);
    if result.is_infinite() && left.is_finite() && right.is_finite() {
        return Err(failure("a number is too large"));
    }
    Ok(Value::from(result))
}

fn concatenate(left: &Value, right: &Value) -> String {
    python_text::str(left) + &python_text::str(right)
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// Nothing where a number is NaN.
fn order(operator: &str, left: &Value, right: &Value) -> Result<Option<Ordering>, Error> {
    if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
        return Ok(Some(left.cmp(right)));
    }
    if is_list(left) && is_list(right) {
        let mut rights = right.try_iter()?;
        for left in left.try_iter()? {
            match rights.next() {
                None => return Ok(Some(Ordering::Greater)),
                Some(right) if left == right => {}
                Some(right) => return order(operator, &left, &right),
            }
        }
        return Ok(Some(rights.next().map_or(Ordering::Equal, |_| Ordering::Less)));
    }
    Ok(match numbers(operator, left, right)? {
        Numbers::Ints(left, right) => Some(left.cmp(&right)),
        Numbers::Floats(left, right) => left.partial_cmp(&right),
    })
}

fn is_less(left: &Value, right: &Value) -> Result<bool, Error> {
    Ok(order("<", left, right)?.is_some_and(Ordering::is_lt))
}

fn is_less_or_equal(left: &Value, right: &Value) -> Result<bool, Error> {
    Ok(order("<=", left, right)?.is_some_and(Ordering::is_le))
}

fn is_greater(left: &Value, right: &Value) -> Result<bool, Error> {
    Ok(order(">", left, right)?.is_some_and(Ordering::is_gt))
}

fn is_greater_or_equal(left: &Value, right: &Value) -> Result<bool, Error> {
    Ok(order(">=", left, right)?.is_some_and(Ordering::is_ge))
}

fn is_in(state: &State, value: &Value, container: &Value) -> Result<bool, Error> {
    match container.kind() {
        ValueKind::String if value.as_str().is_none() => {
            Err(failure(format!("no text can have a {} in it", value.kind())))
        }
        ValueKind::String | ValueKind::Map | ValueKind::Undefined => {
            minijinja::tests::is_in(state, value, container)
        }
        _ if is_list(container) => minijinja::tests::is_in(state, value, container),
        kind => Err(failure(format!("nothing is in a {kind}"))),
    }
}

/// What a loop goes over.
fn iterate(value: Value) -> Result<Value, Error> {
    if value.is_none() {
        return Err(failure("none is not iterable"));
    }
    Ok(value)
}

pub fn install(environment: &mut Environment) {
    environment.add_filter(rewrite::DIVIDE, divide);
    environment.add_filter(rewrite::FLOOR_DIVIDE, floor_divide);
    environment.add_filter(rewrite::REMAINDER, remainder);
    environment.add_filter(rewrite::POWER, power);
    environment.add_filter(rewrite::CONCATENATE, concatenate);
    environment.add_filter(rewrite::LESS, is_less);
    environment.add_filter(rewrite::LESS_OR_EQUAL, is_less_or_equal);
    environment.add_filter(rewrite::GREATER, is_greater);
    environment.add_filter(rewrite::GREATER_OR_EQUAL, is_greater_or_equal);
    environment.add_filter(rewrite::IN, is_in);
    environment.add_filter(rewrite::ITERATE, iterate);
}
