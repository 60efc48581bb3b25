//! Grammars for C++: what may come next in a text that has to follow one.
//!
//! No panic leaves a function of the C interface, whose contract is in ../guidance.h.

mod references;

use llguidance::api::{GrammarInit, ParserLimits, StopReason, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{
    ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie,
};
use llguidance::{Logger, ParserFactory, TokenParser};
use serde_json::{json, Value};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

const OK: i32 = 0;
const FAILED: i32 = 1;

const USE_TEXT: u8 = 0;
const USE_NAMED: u8 = 1;

const KIND_JSON_SCHEMA: i32 = 1;
const KIND_REGEX: i32 = 2;
const KIND_CHOICES: i32 = 3;
const KIND_LARK: i32 = 4;

/// Messages go into trailers of HTTP/2.
const MAX_MESSAGE_CHARS: usize = 400;
/// What toktrie can hold; longer ones are not allowed.
const MAX_TOKEN_BYTES: usize = 512;
/// White space between the parts of a JSON text: without a bound, a model that is undecided may
/// write it for ever.
const JSON_WHITE_SPACE: &str = r"[\x20\x0A\x0D\x09]{1,64}";
/// The compiler goes down into a schema by recursion.
const COMPILER_STACK_BYTES: usize = 16 << 20;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limits {
    initial_lexer_fuel: u64,
    step_lexer_fuel: u64,
    step_max_items: u64,
    step_max_work: u64,
    max_items_in_row: u64,
    max_lexer_states: u64,
    max_grammar_size: u64,
    max_reference_depth: u64,
}

impl Limits {
    fn of_parser(&self) -> ParserLimits {
        ParserLimits {
            max_items_in_row: self.max_items_in_row as usize,
            initial_lexer_fuel: self.initial_lexer_fuel,
            step_lexer_fuel: self.step_lexer_fuel,
            step_max_items: self.step_max_items as usize,
            step_max_work: self.step_max_work,
            max_lexer_states: self.max_lexer_states as usize,
            max_grammar_size: self.max_grammar_size as usize,
            // It would run over the whole vocabulary, at a cost that has no limit of its own.
            precompute_large_lexemes: false,
            verbose_errors: false,
        }
    }
}

pub struct Vocabulary {
    factory: ParserFactory,
    /// Tokens that may be allowed at all. A grammar can also name tokens by number, <[12]>.
    usable: Arc<SimpleVob>,
}

/// A matcher of the C interface.
pub struct Matcher {
    parser: TokenParser,
    usable: Arc<SimpleVob>,
    /// Why it is of no use any more.
    failed: Option<String>,
}

impl Matcher {
    /// Runs what changes the parser. If it fails or panics, so does all that follows.
    fn change<T>(
        &mut self,
        function: impl FnOnce(&mut TokenParser) -> Result<T, String>,
    ) -> Result<T, String> {
        if let Some(message) = &self.failed {
            return Err(message.clone());
        }
        let parser = &mut self.parser;
        let result = catch_unwind(AssertUnwindSafe(|| function(parser)))
            .unwrap_or_else(|_| Err("the grammar's engine panicked".into()));
        if let Err(message) = &result {
            self.failed = Some(message.clone());
        }
        result
    }

    fn finished(&self) -> bool {
        self.failed.is_none() && self.parser.stopped()
    }

    fn mask(&mut self, words: &mut [u32]) -> Result<(), String> {
        words.fill(0);
        self.parser.parser.begin_step();
        let mask = self.change(|parser| match parser.stop_reason() {
            StopReason::NotStopped => parser.compute_mask().map_err(|e| e.to_string()),
            _ => Ok(parser.token_env.tok_trie().eos_token_set()),
        })?;
        let mut any = 0;
        let masks = mask.as_slice().iter().zip(self.usable.as_slice());
        for (word, (allowed, usable)) in words.iter_mut().zip(masks) {
            *word = allowed & usable;
            any |= *word;
        }
        // A grammar may name a token that ends the text by its number, and mean no end.
        let ends = self.parser.token_env.tok_trie().eos_tokens().to_vec();
        let any_end = ends.iter().any(|end| words[*end as usize / 32] >> (end % 32) & 1 != 0);
        if any_end && !self.change(|parser| Ok(parser.stopped() || parser.is_accepting()))? {
            ends.iter().for_each(|end| words[*end as usize / 32] &= !(1 << (end % 32)));
            any = words.iter().fold(0, |any, word| any | word);
        }
        if any == 0 {
            return self.change(|_| Err("no token of this model may come next".into()));
        }
        Ok(())
    }

    fn accept(&mut self, token: u32) -> Result<(), String> {
        self.parser.parser.begin_step();
        let usable = (token as usize) < self.usable.len() && self.usable.is_allowed(token);
        self.change(|parser| {
            if parser.stopped() && parser.token_env.tok_trie().eos_tokens().contains(&token) {
                return Ok(());
            }
            if !usable {
                return Err(format!("token {token} is never allowed"));
            }
            if parser.token_env.tok_trie().eos_tokens().contains(&token) && !parser.is_accepting() {
                return Err("the text cannot end here".into());
            }
            parser.consume_token(token).map_err(|e| e.to_string())?;
            parser.check_stop().map_err(|e| e.to_string())?;
            Ok(())
        })
    }
}

fn new_vocabulary(
    bytes: &[u8],
    sizes: &[u32],
    uses: &[u8],
    ends: &[u32],
) -> Result<Vocabulary, String> {
    let first_end = *ends.first().ok_or("the vocabulary has no token that ends a text")?;
    if let Some(end) = ends.iter().find(|end| **end as usize >= sizes.len()) {
        return Err(format!("end token {end} is outside the vocabulary"));
    }
    let mut words = Vec::with_capacity(sizes.len());
    let mut rest = bytes;
    for (size, token_use) in sizes.iter().zip(uses) {
        let (token, others) = rest.split_at(*size as usize);
        rest = others;
        words.push(match *token_use {
            _ if token.len() > MAX_TOKEN_BYTES => vec![],
            USE_TEXT => token.to_vec(),
            USE_NAMED if token.starts_with(b"<") && token.ends_with(b">") => {
                [&[TokTrie::SPECIAL_TOKEN_MARKER], token].concat()
            }
            _ => vec![],
        });
    }
    let mut usable = SimpleVob::alloc(words.len());
    for (id, word) in words.iter().enumerate() {
        if !word.is_empty() {
            usable.allow_token(id as u32);
        }
    }
    for end in ends {
        usable.allow_token(*end);
        // It ends the text wherever it comes, so it cannot be a part of one.
        words[*end as usize].clear();
    }
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, first_end), &words)
        .with_eos_tokens(ends);
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new(
        &environment,
        InferenceCapabilities::default(),
        &SlicedBiasComputer::general_slices(),
    )
    .map_err(|e| e.to_string())?;
    factory.quiet();
    Ok(Vocabulary { factory, usable: Arc::new(usable) })
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("no JSON: {e}"))
}

fn json_schema_grammar(text: &str, limits: &Limits) -> Result<TopLevelGrammar, String> {
    let mut schema = match parse_json(text)? {
        Value::Bool(true) => json!({}),
        schema => schema,
    };
    references::check(&schema, limits.max_reference_depth)?;
    let object = schema.as_object_mut().ok_or("a JSON schema is an object or true")?;
    // The place where llguidance looks for its options; those of a caller are overwritten.
    object.insert("x-guidance".into(), json!({ "whitespace_pattern": JSON_WHITE_SPACE }));
    Ok(TopLevelGrammar::from_json_schema(schema))
}

fn choices_grammar(text: &str) -> Result<TopLevelGrammar, String> {
    let choices: Vec<String> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    if choices.is_empty() || choices.iter().any(|choice| choice.is_empty()) {
        return Err("there must be choices, and none may be empty".into());
    }
    let choices: Vec<String> = choices.iter().map(|choice| regex_escape(choice)).collect();
    Ok(TopLevelGrammar::from_regex(&choices.join("|")))
}

/// A regular expression that matches just this text.
fn regex_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() {
            escaped.push_str(&format!("\\x{:02x}", c as u32));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn compile(
    vocabulary: &Vocabulary,
    kind: i32,
    text: &[u8],
    limits: &Limits,
) -> Result<Matcher, String> {
    let text = std::str::from_utf8(text).map_err(|e| format!("no UTF-8: {e}"))?;
    let grammar = match kind {
        KIND_JSON_SCHEMA => json_schema_grammar(text, limits)?,
        KIND_REGEX => TopLevelGrammar::from_regex(text),
        KIND_CHOICES => choices_grammar(text)?,
        KIND_LARK => TopLevelGrammar::from_lark(text.to_string()),
        _ => return Err(format!("kind {kind} is not known")),
    };
    let parser = vocabulary.factory.create_parser_from_init_ext(
        GrammarInit::Serialized(grammar),
        Logger::new(0, 0),
        InferenceCapabilities::default(),
        limits.of_parser(),
    );
    let mut parser = parser.map_err(|e| e.to_string())?;
    // The parser cancels itself where it goes beyond step_max_work.
    parser.enable_cancellation();
    parser.start_without_prompt();
    Ok(Matcher { parser, usable: vocabulary.usable.clone(), failed: None })
}

/// The same on a thread that has the stack for it.
fn compile_on_large_stack(
    vocabulary: &Vocabulary,
    kind: i32,
    text: &[u8],
    limits: &Limits,
) -> Result<Matcher, String> {
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(COMPILER_STACK_BYTES)
            .spawn_scoped(scope, || compile(vocabulary, kind, text, limits))
            .map_err(|e| format!("no thread: {e}"))?
            .join()
            .unwrap_or_else(|_| Err("the compiler panicked".into()))
    })
}

/// One line, without the state of the parser and the stack of a panic, which tell a caller nothing.
fn shorten(message: &str) -> String {
    if message.starts_with("NoExtensionBias") {
        return "no text that begins like this follows it".into();
    }
    if message.starts_with("operation cancelled") {
        return "takes too much work for one token".into();
    }
    let end = ["\n<non-verbose/>", "\n<state>", "\n<backtrace>"]
        .iter()
        .filter_map(|mark| message.find(mark))
        .min()
        .unwrap_or(message.len());
    let line = message[..end].split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// Runs what may fail or panic, and hands the reason to C++.
unsafe fn guard(
    error: *mut *mut u8,
    error_size: *mut usize,
    function: impl FnOnce() -> Result<(), String>,
) -> i32 {
    let message = match catch_unwind(AssertUnwindSafe(function)) {
        Ok(Ok(())) => return OK,
        Ok(Err(message)) => shorten(&message),
        Err(_) => "panic".into(),
    };
    let boxed = message.into_bytes().into_boxed_slice();
    *error_size = boxed.len();
    *error = Box::into_raw(boxed) as *mut u8;
    FAILED
}

/// As std::slice::from_raw_parts, which wants a pointer that is not null even for nothing.
unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        &[]
    } else {
        std::slice::from_raw_parts(data, size)
    }
}

/// # Safety
/// `sizes` and `uses` have `num_tokens` entries, `bytes` as many bytes as the sizes say, `ends`
/// has `num_ends` entries; the results are valid pointers.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_new_vocabulary(
    bytes: *const u8,
    sizes: *const u32,
    uses: *const u8,
    num_tokens: usize,
    ends: *const u32,
    num_ends: usize,
    vocabulary: *mut *mut Vocabulary,
    error: *mut *mut u8,
    error_size: *mut usize,
) -> i32 {
    guard(error, error_size, || {
        let sizes = slice(sizes, num_tokens);
        let total = sizes.iter().map(|size| *size as usize).sum();
        let (bytes, uses) = (slice(bytes, total), slice(uses, num_tokens));
        let made = new_vocabulary(bytes, sizes, uses, slice(ends, num_ends))?;
        *vocabulary = Box::into_raw(Box::new(made));
        Ok(())
    })
}

/// # Safety
/// From phalanx_guidance_new_vocabulary, once.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_free_vocabulary(vocabulary: *mut Vocabulary) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(vocabulary))));
}

/// # Safety
/// `text` has `size` bytes; the other pointers are valid.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_compile(
    vocabulary: *const Vocabulary,
    kind: i32,
    text: *const u8,
    size: usize,
    limits: *const Limits,
    matcher: *mut *mut Matcher,
    error: *mut *mut u8,
    error_size: *mut usize,
) -> i32 {
    guard(error, error_size, || {
        let made = compile_on_large_stack(&*vocabulary, kind, slice(text, size), &*limits)?;
        *matcher = Box::into_raw(Box::new(made));
        Ok(())
    })
}

/// # Safety
/// The matcher is valid. Null if the copy panicked.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_clone(matcher: *const Matcher) -> *mut Matcher {
    catch_unwind(AssertUnwindSafe(|| {
        let Matcher { parser, usable, failed } = &*matcher;
        let (parser, usable, failed) = (parser.clone(), usable.clone(), failed.clone());
        Box::into_raw(Box::new(Matcher { parser, usable, failed }))
    }))
    .unwrap_or(std::ptr::null_mut())
}

/// # Safety
/// From phalanx_guidance_compile or _clone, once.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_free_matcher(matcher: *mut Matcher) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(Box::from_raw(matcher))));
}

/// # Safety
/// The matcher is valid; `words` has `num_words` entries.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_mask(
    matcher: *mut Matcher,
    words: *mut u32,
    num_words: usize,
    error: *mut *mut u8,
    error_size: *mut usize,
) -> i32 {
    guard(error, error_size, || {
        (*matcher).mask(std::slice::from_raw_parts_mut(words, num_words))
    })
}

/// # Safety
/// The matcher is valid.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_accept(
    matcher: *mut Matcher,
    token: u32,
    error: *mut *mut u8,
    error_size: *mut usize,
) -> i32 {
    guard(error, error_size, || (*matcher).accept(token))
}

/// # Safety
/// The matcher is valid.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_rollback(
    matcher: *mut Matcher,
    num_tokens: usize,
    error: *mut *mut u8,
    error_size: *mut usize,
) -> i32 {
    guard(error, error_size, || {
        (*matcher).parser.parser.begin_step();
        (*matcher).change(|parser| parser.rollback(num_tokens).map_err(|e| e.to_string()))
    })
}

/// # Safety
/// The matcher is valid.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_is_finished(matcher: *const Matcher) -> i32 {
    (*matcher).finished() as i32
}

/// # Safety
/// The matcher is valid.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_may_end(matcher: *mut Matcher) -> i32 {
    let matcher = &mut *matcher;
    let finished = matcher.finished();
    matcher.parser.parser.begin_step();
    matcher.change(|parser| Ok(finished || parser.is_accepting())).unwrap_or(false) as i32
}

/// # Safety
/// The matcher is valid.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_last_work(matcher: *const Matcher) -> u64 {
    (*matcher).parser.parser.step_work()
}

/// # Safety
/// All pointers are valid.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_lexer_size(
    matcher: *const Matcher,
    states: *mut u64,
    bytes: *mut u64,
) {
    let stats = catch_unwind(AssertUnwindSafe(|| (*matcher).parser.parser.lexer_stats()));
    let (num_states, num_bytes) = match stats {
        // A lexer that met a limit is of no use any more, as one whose lock is broken.
        Ok(stats) if stats.error => (usize::MAX, stats.num_bytes),
        Ok(stats) => (stats.num_states, stats.num_bytes),
        Err(_) => (usize::MAX, 0),
    };
    *states = num_states as u64;
    *bytes = num_bytes as u64;
}

/// # Safety
/// A result of these functions, once.
#[no_mangle]
pub unsafe extern "C" fn phalanx_guidance_free_bytes(data: *mut u8, size: usize) {
    drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)));
}
