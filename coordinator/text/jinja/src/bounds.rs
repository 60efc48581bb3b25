//! Bounds on what a template may take of this process: memory, stack and time.
//!
//! Steps alone bound little: one can double a string, walk a sequence that is never stored, or nest
//! a list once more. So work on a template runs on a thread of its own, and every allocation of
//! this crate passes through `BoundedAllocator`. On such a thread one that exceeds a bound fails, and
//! the hook for failed allocations unwinds the work. What recurses either allocates on the way down,
//! and then meets the bound of the stack, or walks what was allocated before, as dropping does, and
//! then the stack is large enough for all that fits into the memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::any::Any;
use std::cell::Cell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

/// Dropping a chain of the smallest values takes 130 bytes of stack for each 80 bytes of memory;
/// a lazy sequence takes more of both.
const STACK_PER_MEMORY: usize = 8;
/// Compiling takes 1052 bytes of stack for the 12 of {% elif 0 %}; expressions are short.
const STACK_PER_SOURCE: usize = 256;
const MIN_STACK: usize = 4 << 20;
/// Looking at the clock costs as much as allocating.
const ALLOCATIONS_PER_LOOK: u32 = 16;

#[derive(Clone, Copy)]
pub struct Bounds {
    pub memory: usize,
    pub time: Duration,
    /// Of the source, while it is compiled.
    pub source: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Exceeded {
    Memory,
    Stack,
    Time,
}

pub enum Failure {
    Exceeded(Exceeded),
    Panic,
    NoThread,
}

pub struct Done<T> {
    pub result: Result<T, Failure>,
    /// Bytes that were allocated and not freed.
    pub kept: usize,
}

struct Account {
    /// Whether allocations are counted.
    counts: Cell<bool>,
    /// Whether allocations can fail.
    bounds: Cell<bool>,
    bytes: Cell<isize>,
    max_bytes: Cell<isize>,
    lowest_stack: Cell<usize>,
    deadline: Cell<Option<Instant>>,
    allocations: Cell<u32>,
    exceeded: Cell<Option<Exceeded>>,
}

thread_local! {
    // Without a destructor and without allocating: the allocator may use it at any time.
    static ACCOUNT: Account = const {
        Account {
            counts: Cell::new(false),
            bounds: Cell::new(false),
            bytes: Cell::new(0),
            max_bytes: Cell::new(0),
            lowest_stack: Cell::new(0),
            deadline: Cell::new(None),
            allocations: Cell::new(0),
            exceeded: Cell::new(None),
        }
    };
}

impl Account {
    fn begin(&self, bounds: &Bounds, stack: usize) {
        self.bytes.set(0);
        self.max_bytes.set(bounds.memory as isize);
        self.lowest_stack.set(stack_pointer().saturating_sub(stack / 2));
        self.deadline.set(Instant::now().checked_add(bounds.time));
        self.exceeded.set(None);
        self.bounds.set(true);
        self.counts.set(true);
    }

    fn end(&self) -> usize {
        self.counts.set(false);
        self.bounds.set(false);
        self.bytes.get().max(0) as usize
    }

    fn exceeds(&self, size: usize) -> Option<Exceeded> {
        if self.bytes.get().saturating_add(size as isize) > self.max_bytes.get() {
            return Some(Exceeded::Memory);
        }
        if stack_pointer() < self.lowest_stack.get() {
            return Some(Exceeded::Stack);
        }
        self.allocations.set(self.allocations.get().wrapping_add(1));
        let look = self.allocations.get() % ALLOCATIONS_PER_LOOK == 0;
        if look && self.deadline.get().is_some_and(|deadline| Instant::now() > deadline) {
            return Some(Exceeded::Time);
        }
        None
    }

    /// Whether `size` bytes may be allocated.
    fn allows(&self, size: usize) -> bool {
        if !self.counts.get() || !self.bounds.get() {
            return true;
        }
        match self.exceeds(size) {
            None => true,
            exceeded => {
                self.exceeded.set(exceeded);
                false
            }
        }
    }

    fn count(&self, bytes: isize) {
        if self.counts.get() {
            self.bytes.set(self.bytes.get() + bytes);
        }
    }
}

#[inline(never)]
fn stack_pointer() -> usize {
    let here = 0u8;
    std::hint::black_box(&here) as *const u8 as usize
}

struct BoundedAllocator;

#[global_allocator]
static ALLOCATOR: BoundedAllocator = BoundedAllocator;

// SAFETY: all memory is the system allocator's; failing is allowed, and nothing here unwinds.
unsafe impl GlobalAlloc for BoundedAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ACCOUNT.with(|account| {
            if !account.allows(layout.size()) {
                return std::ptr::null_mut();
            }
            account.count(layout.size() as isize);
            System.alloc(layout)
        })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ACCOUNT.with(|account| {
            if !account.allows(layout.size()) {
                return std::ptr::null_mut();
            }
            account.count(layout.size() as isize);
            System.alloc_zeroed(layout)
        })
    }

    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        ACCOUNT.with(|account| account.count(-(layout.size() as isize)));
        System.dealloc(data, layout)
    }

    unsafe fn realloc(&self, data: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ACCOUNT.with(|account| {
            // Both may exist for a while.
            if new_size > layout.size() && !account.allows(new_size) {
                return std::ptr::null_mut();
            }
            account.count(new_size as isize - layout.size() as isize);
            System.realloc(data, layout, new_size)
        })
    }
}

/// Ends the work whose allocation failed; that of others is the end of the process, as ever.
fn allocation_failed(layout: Layout) {
    let exceeded = ACCOUNT.with(|account| {
        if !account.counts.get() || !account.bounds.get() {
            return None;
        }
        // Unwinding allocates.
        account.bounds.set(false);
        Some(account.exceeded.get().unwrap_or(Exceeded::Memory))
    });
    if let Some(exceeded) = exceeded {
        resume_unwind(Box::new(exceeded));
    }
    eprintln!("allocation of {} bytes failed", layout.size());
}

fn failure_of(payload: Box<dyn Any + Send>) -> Failure {
    match payload.downcast_ref::<Exceeded>() {
        Some(exceeded) => Failure::Exceeded(*exceeded),
        None => Failure::Panic,
    }
}

/// Runs `work` within the bounds. What it must give back is allocated by `uncounted`, or counts as
/// kept.
pub fn run<T: Send>(bounds: &Bounds, work: impl FnOnce() -> T + Send) -> Done<T> {
    std::alloc::set_alloc_error_hook(allocation_failed);
    let stack = MIN_STACK + STACK_PER_MEMORY * bounds.memory + STACK_PER_SOURCE * bounds.source;
    let on_thread = || {
        ACCOUNT.with(|account| account.begin(bounds, stack));
        let result = catch_unwind(AssertUnwindSafe(work)).map_err(failure_of);
        let kept = ACCOUNT.with(|account| account.end());
        Done { result, kept }
    };
    thread::scope(|scope| {
        match thread::Builder::new().stack_size(stack).spawn_scoped(scope, on_thread) {
            Ok(thread) => match thread.join() {
                Ok(done) => done,
                Err(_) => Done { result: Err(Failure::Panic), kept: 0 },
            },
            Err(_) => Done { result: Err(Failure::NoThread), kept: 0 },
        }
    })
}

/// Runs `work`, which has bounds of its own, without counting what it allocates and frees.
pub fn uncounted<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ACCOUNT.with(|account| account.counts.set(self.0));
        }
    }
    let _restore = Restore(ACCOUNT.with(|account| account.counts.replace(false)));
    work()
}
