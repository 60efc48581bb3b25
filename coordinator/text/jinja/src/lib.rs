//! Chat templates for C++: one template compiled once, rendered many times, from any thread.
//!
//! No panic leaves a function of the C interface, whose contract is in ../jinja.h.

mod python_math;
mod python_semantics;
mod python_text;
mod rewrite;
mod source;

use minijinja::machinery::{
    make_string_output, parse, tokenize, CodeGenerator, Instructions, Token, Vm, WhitespaceConfig,
};
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::ffi::{c_char, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};

const OK: i32 = 0;
const FAILED: i32 = 1;

/// Ten times the longest template in use.
const MAX_SOURCE_BYTES: usize = 256 << 10;
/// The compiler looks for constants in every part of an expression anew: in quadratic time.
const MAX_BLOCK_TOKENS: usize = 2048;
/// Messages go into trailers of HTTP/2.
const MAX_MESSAGE_CHARS: usize = 1000;

const TEMPLATE_NAME: &str = "chat_template";

/// Formats the time of now into a buffer; returns the length, 0 if it does not fit.
type FormatNow = extern "C" fn(*const c_char, *mut u8, usize) -> usize;

/// A compiled template. The instructions borrow from the source, and code runs in an environment that
/// lives as long; both are on the heap, where they stay.
struct Program {
    instructions: Instructions<'static>,
    blocks: BTreeMap<&'static str, Instructions<'static>>,
    environment: Box<Environment<'static>>,
    _source: Box<str>,
}

pub struct Template {
    program: Program,
    max_steps: u64,
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

fn compile(source: &[u8], max_steps: u64, format_now: FormatNow) -> Result<Template, String> {
    if source.len() > MAX_SOURCE_BYTES {
        return Err(format!("{} bytes, {MAX_SOURCE_BYTES} are allowed", source.len()));
    }
    Ok(Template { program: make_program(source, max_steps, format_now)?, max_steps })
}

/// An error if something between {{ and }}, or {% and %}, is too long.
fn check_blocks(source: &str) -> Result<(), String> {
    let mut tokens = 0;
    // What is no token the compiler reports better.
    for (token, span) in tokenize(source, false, Default::default(), Default::default()).flatten() {
        tokens = match token {
            Token::TemplateData(_) | Token::VariableStart | Token::BlockStart => 0,
            _ => tokens + 1,
        };
        if tokens > MAX_BLOCK_TOKENS {
            let line = span.start_line;
            return Err(format!("line {line}: a block of more than {MAX_BLOCK_TOKENS} tokens"));
        }
    }
    Ok(())
}

fn make_environment(fuel: u64, format_now: FormatNow) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(fuel));
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    python_semantics::install(&mut environment);
    python_math::install(&mut environment);
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
}

fn make_program(source: &[u8], fuel: u64, format_now: FormatNow) -> Result<Program, String> {
    let source = std::str::from_utf8(source).map_err(|e| e.to_string())?;
    let source = source::adapt(source).into_boxed_str();
    check_blocks(&source)?;
    let environment = Box::new(make_environment(fuel, format_now));
    // SAFETY: a Program holds the source for as long as what borrows from it.
    let text: &'static str = unsafe { &*(&*source as *const str) };
    let white_space = WhitespaceConfig {
        trim_blocks: true,
        lstrip_blocks: true,
        ..WhitespaceConfig::default()
    };
    let parsed = parse(text, TEMPLATE_NAME, Default::default(), white_space)
        .map_err(|e| shorten(&describe_error(&e)))?;
    let rewritten = rewrite::rewrite(&parsed, &environment).map_err(|e| shorten(&e))?;
    let mut generator = CodeGenerator::new(TEMPLATE_NAME, text);
    generator.compile_stmt(&rewritten);
    let (instructions, blocks) = generator.finish();
    Ok(Program { instructions, blocks, environment, _source: source })
}

impl Program {
    fn run(&self, context: Value, out: &mut String) -> Result<(), Error> {
        // SAFETY: nothing that borrows from it outlives this call.
        let environment: &'static Environment = unsafe { &*(&*self.environment as *const _) };
        let mut output = make_string_output(out);
        Vm::new(environment)
            .eval(&self.instructions, context, &self.blocks, &mut output, AutoEscape::None)
            .map(|_| ())
    }
}

/// With the line first.
fn describe_error(error: &Error) -> String {
    let line = error.line().map(|line| format!("line {line}: ")).unwrap_or_default();
    match error.detail() {
        Some(detail) => format!("{line}{}: {detail}", error.kind()),
        None => format!("{line}{}", error.kind()),
    }
}

fn describe(error: &Error, max_steps: u64, max_output: usize) -> String {
    match error.kind() {
        ErrorKind::OutOfFuel => return format!("takes more than {max_steps} steps"),
        ErrorKind::WriteFailure => return format!("writes more than {max_output} bytes"),
        _ => {}
    }
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = source {
        if let Some(raised) = cause.downcast_ref::<Raised>() {
            return shorten(&raised.0);
        }
        source = cause.source();
    }
    shorten(&describe_error(error))
}

fn shorten(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// An error if a text was joined to one marked by `safe`.
fn check_markup(text: String) -> Result<Vec<u8>, String> {
    if text.contains(python_semantics::MISUSED) {
        return Err("joining to a text marked by `safe` is not supported".into());
    }
    Ok(text.into_bytes())
}

fn render(template: &Template, context: &[u8], limit: usize) -> Result<Vec<u8>, String> {
    let context: serde_json::Value =
        serde_json::from_slice(context).map_err(|e| e.to_string())?;
    let context = python_semantics::from_json(context);
    let mut text = String::new();
    python_semantics::limit_output(limit);
    match template.program.run(context, &mut text) {
        Ok(()) => check_markup(text),
        Err(error) => Err(describe(&error, template.max_steps, limit)),
    }
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
    max_steps: u64,
    format_now: FormatNow,
    template: *mut *mut Template,
    error: *mut *mut u8,
    error_size: *mut usize,
) -> i32 {
    let source = std::slice::from_raw_parts(source, size);
    match catch_unwind(AssertUnwindSafe(|| compile(source, max_steps, format_now))) {
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
        Ok(Err(message)) => {
            give(message.into_bytes(), result, result_size);
            FAILED
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
