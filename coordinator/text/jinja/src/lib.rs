//! Chat templates for C++: one template compiled once, rendered many times, from any thread.
//!
//! No panic leaves a function of the C interface, whose contract is in ../jinja.h.

mod python_semantics;
mod python_text;
mod source;

use minijinja::value::Value;
use minijinja::{Environment, Error, ErrorKind};
use std::error::Error as StdError;
use std::ffi::{c_char, CString};
use std::io::{self, Write};
use std::panic::{catch_unwind, AssertUnwindSafe};

const OK: i32 = 0;
const FAILED: i32 = 1;
const RAISED: i32 = 2;
const EXHAUSTED: i32 = 3;

/// Formats the time of now into a buffer; returns the length, 0 if it does not fit.
type FormatNow = extern "C" fn(*const c_char, *mut u8, usize) -> usize;

pub struct Template {
    environment: Environment<'static>,
}

/// What the template itself refuses.
#[derive(Debug)]
struct Raised(String);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for Raised {}

fn compile(source: &[u8], fuel: u64, format_now: FormatNow) -> Result<Template, String> {
    let source = std::str::from_utf8(source).map_err(|e| e.to_string())?;
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(fuel));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    python_semantics::install(&mut environment);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, "raised").with_source(Raised(message)))
    });
    environment.add_function("strftime_now", move |format: String| -> Result<String, Error> {
        let format = CString::new(format)
            .map_err(|e| Error::new(ErrorKind::InvalidOperation, e.to_string()))?;
        let mut buffer = [0u8; 256];
        let length = format_now(format.as_ptr(), buffer.as_mut_ptr(), buffer.len());
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    });
    environment
        .add_template_owned("chat_template", source::adapt(source))
        .map_err(|e| format!("{e:#}"))?;
    Ok(Template { environment })
}

struct LimitedWriter {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for LimitedWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.limit - self.bytes.len() {
            return Err(io::Error::other("output limit"));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn describe(error: &Error) -> (i32, String) {
    match error.kind() {
        ErrorKind::OutOfFuel => return (EXHAUSTED, "takes too many steps".into()),
        ErrorKind::WriteFailure => return (EXHAUSTED, "output is too long".into()),
        _ => {}
    }
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = source {
        if let Some(raised) = cause.downcast_ref::<Raised>() {
            return (RAISED, raised.0.clone());
        }
        source = cause.source();
    }
    (FAILED, format!("{error}"))
}

fn render(template: &Template, context: &[u8], limit: usize) -> Result<Vec<u8>, (i32, String)> {
    let context: serde_json::Value =
        serde_json::from_slice(context).map_err(|e| (FAILED, e.to_string()))?;
    let mut writer = LimitedWriter { bytes: Vec::new(), limit };
    let compiled = template.environment.get_template("chat_template").map_err(|e| describe(&e))?;
    compiled
        .render_captured_to(python_semantics::from_json(context), &mut writer)
        .map_err(|e| describe(&e))?;
    let misused = python_semantics::MISUSED.as_bytes();
    if writer.bytes.windows(misused.len()).any(|window| window == misused) {
        return Err((FAILED, "it joins a text to one marked by `safe`, which is not supported".into()));
    }
    Ok(writer.bytes)
}

/// Hands bytes to C++, which gives them back to phalanx_jinja_free_bytes.
unsafe fn give(bytes: Vec<u8>, data: *mut *mut u8, size: *mut usize) {
    let boxed = bytes.into_boxed_slice();
    *size = boxed.len();
    *data = Box::into_raw(boxed) as *mut u8;
}

/// # Safety
/// `source` has `size` bytes; the results are valid pointers.
#[no_mangle]
pub unsafe extern "C" fn phalanx_jinja_compile(
    source: *const u8,
    size: usize,
    fuel: u64,
    format_now: FormatNow,
    template: *mut *mut Template,
    error: *mut *mut u8,
    error_size: *mut usize,
) -> i32 {
    let source = std::slice::from_raw_parts(source, size);
    match catch_unwind(AssertUnwindSafe(|| compile(source, fuel, format_now))) {
        Ok(Ok(compiled)) => {
            *template = Box::into_raw(Box::new(compiled));
            OK
        }
        Ok(Err(message)) => {
            give(message.into_bytes(), error, error_size);
            FAILED
        }
        Err(_) => {
            give(b"panic".to_vec(), error, error_size);
            FAILED
        }
    }
}

/// # Safety
/// `template` comes from phalanx_jinja_compile; `context` has `size` bytes of JSON; the results
/// are valid pointers. The result is the text, or the message of an error.
#[no_mangle]
pub unsafe extern "C" fn phalanx_jinja_render(
    template: *const Template,
    context: *const u8,
    size: usize,
    max_output: usize,
    result: *mut *mut u8,
    result_size: *mut usize,
) -> i32 {
    let context = std::slice::from_raw_parts(context, size);
    match catch_unwind(AssertUnwindSafe(|| render(&*template, context, max_output))) {
        Ok(Ok(text)) => {
            give(text, result, result_size);
            OK
        }
        Ok(Err((code, message))) => {
            give(message.into_bytes(), result, result_size);
            code
        }
        Err(_) => {
            give(b"panic".to_vec(), result, result_size);
            FAILED
        }
    }
}

/// # Safety
/// From phalanx_jinja_compile, once.
#[no_mangle]
pub unsafe extern "C" fn phalanx_jinja_free(template: *mut Template) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(template))));
}

/// # Safety
/// A result of these functions, once.
#[no_mangle]
pub unsafe extern "C" fn phalanx_jinja_free_bytes(data: *mut u8, size: usize) {
    drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)));
}
