//! The one way in and out. Arguments are judged before they are used, results
//! are written on success only, and no panic crosses.

use std::any::Any;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use airgap::{Error, PolicyError};

use crate::error::airgap_error_t;
use crate::status::airgap_status_t;

/// Why a call failed.
pub(crate) enum Failure {
    /// The caller gave something that the function does not take.
    Argument(String),
    /// The core said so.
    Core(Error),
    /// The core did not come back.
    Panic(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<PolicyError> for Failure {
    fn from(error: PolicyError) -> Self {
        Self::Core(error.into())
    }
}

/// Does the work of a function. What it answers is written to `error` if it is
/// a failure and the caller wants to know.
pub(crate) fn call(
    error: *mut *mut airgap_error_t,
    work: impl FnOnce() -> Result<(), Failure>,
) -> airgap_status_t {
    let failure = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return airgap_status_t::AIRGAP_OK,
        Ok(Err(failure)) => failure,
        Err(payload) => Failure::Panic(words(payload)),
    };
    // To write an error out may panic too, in a defect of the core.
    let report = catch_unwind(AssertUnwindSafe(|| Box::new(airgap_error_t::new(failure))))
        .unwrap_or_else(|payload| Box::new(airgap_error_t::new(Failure::Panic(words(payload)))));
    let status = report.status();
    if !error.is_null() {
        // SAFETY: the caller gives NULL or a place for a pointer.
        unsafe { error.write(Box::into_raw(report)) };
    }
    status
}

/// What a panic said.
fn words(payload: Box<dyn Any + Send>) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| {
            payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
        })
        .unwrap_or_else(|| "without a word".to_owned())
}

/// A handle of the caller's, none if it is NULL.
pub(crate) fn peek<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: the caller gives NULL or what this library made and did not free.
    unsafe { pointer.as_ref() }
}

/// A handle of the caller's. It is not NULL, or the call fails.
pub(crate) fn borrow<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    peek(pointer).ok_or_else(|| null(name))
}

/// Bytes of the caller's. NULL is no text only where the length is 0.
pub(crate) fn bytes<'a>(
    pointer: *const c_char,
    length: usize,
    name: &str,
) -> Result<&'a [u8], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(name));
    }
    // A length that was negative before it became a size_t.
    if isize::try_from(length).is_err() {
        return Err(Failure::Argument(format!(
            "the length of {name} is {length}, more than an object can have"
        )));
    }
    // SAFETY: the caller gives as many bytes as it says.
    Ok(unsafe { std::slice::from_raw_parts(pointer.cast::<u8>(), length) })
}

/// A text of the caller's.
pub(crate) fn text<'a>(
    pointer: *const c_char,
    length: usize,
    name: &str,
) -> Result<&'a str, Failure> {
    str::from_utf8(bytes(pointer, length, name)?).map_err(|error| {
        Failure::Argument(format!(
            "{name} is not UTF-8: byte {} of {length} does not belong there",
            error.valid_up_to()
        ))
    })
}

/// A place of the caller's for a result.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// The place is not NULL, or the call fails.
    pub fn new(pointer: *mut T, name: &str) -> Result<Self, Failure> {
        if pointer.is_null() {
            Err(null(name))
        } else {
            Ok(Self(pointer))
        }
    }

    /// Writes the result; the last thing that a call does.
    pub fn write(self, value: T) -> Result<(), Failure> {
        // SAFETY: it is not NULL, and the caller says that a T fits there.
        unsafe { self.0.write(value) };
        Ok(())
    }
}

impl<T> Out<*mut T> {
    /// Hands a new handle over.
    pub fn give(self, value: T) -> Result<(), Failure> {
        self.write(Box::into_raw(Box::new(value)))
    }
}

impl Out<*mut c_char> {
    /// Hands a new text over, to be freed by `airgap_string_free`.
    pub fn give_text(self, text: impl Into<String>) -> Result<(), Failure> {
        self.write(c_text(text).into_raw())
    }
}

/// A struct of the caller's that begins with its size and can grow: the
/// library knows `T`, the caller may know a shorter or a longer one.
pub(crate) struct Sized<T> {
    pointer: *mut T,
    size: usize,
}

impl<T: Copy> Sized<T> {
    /// # Safety
    /// `T` must be `repr(C)`, begin with its size as a `size_t`, and be valid
    /// with all bytes zero.
    pub unsafe fn new(pointer: *mut T, name: &str) -> Result<Self, Failure> {
        if pointer.is_null() {
            return Err(null(name));
        }
        // SAFETY: the caller gives a struct that begins with its size.
        let size = unsafe { pointer.cast::<usize>().read() };
        if size < size_of::<usize>() || size > isize::MAX.unsigned_abs() {
            return Err(Failure::Argument(format!(
                "{name}->size is {size}: set it to the size of the struct before the call"
            )));
        }
        Ok(Self { pointer, size })
    }

    /// What the caller set. Fields that it does not know are zero; fields that
    /// the library does not know must be.
    pub fn read(&self, name: &str) -> Result<T, Failure> {
        let known = self.size.min(size_of::<T>());
        // SAFETY: the caller's struct has `size` bytes, a T takes those of
        // `size_of::<T>()`, and all others are zero, which is valid by `new`.
        unsafe {
            let behind =
                std::slice::from_raw_parts(self.pointer.cast::<u8>().add(known), self.size - known);
            if behind.iter().any(|byte| *byte != 0) {
                return Err(Failure::Argument(format!(
                    "{name} has fields set that this version of the library does not know"
                )));
            }
            let mut value = std::mem::zeroed::<T>();
            ptr::copy_nonoverlapping(
                self.pointer.cast::<u8>(),
                (&raw mut value).cast::<u8>(),
                known,
            );
            Ok(value)
        }
    }

    /// Writes the fields that the caller knows, but for the size.
    pub fn write(&self, value: &T) {
        let head = size_of::<usize>();
        let known = self.size.min(size_of::<T>());
        // SAFETY: as in `read`; both sides begin with a size, which stays.
        unsafe {
            ptr::copy_nonoverlapping(
                ptr::from_ref(value).cast::<u8>().add(head),
                self.pointer.cast::<u8>().add(head),
                known - head,
            );
        }
    }
}

/// Takes a handle back that `give` handed over, and drops it.
pub(crate) fn free<T>(pointer: *mut T) {
    if !pointer.is_null() {
        // SAFETY: the caller gives what this library made, once.
        let owned = unsafe { Box::from_raw(pointer) };
        // A panic in a destructor is a defect that nobody can be told of here.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(owned)));
    }
}

/// A text for C. A zero inside would end it early, so it becomes U+FFFD.
pub(crate) fn c_text(text: impl Into<String>) -> CString {
    CString::new(text.into()).unwrap_or_else(|error| {
        let mut bytes = error.into_vec();
        bytes = String::from_utf8_lossy(&bytes)
            .replace('\0', "\u{fffd}")
            .into_bytes();
        CString::new(bytes).unwrap_or_default()
    })
}

fn null(name: &str) -> Failure {
    Failure::Argument(format!("{name} is NULL"))
}

/// An index behind the last item.
pub(crate) fn none_of(index: usize, count: usize) -> Failure {
    Failure::Argument(format!(
        "there is no item {index}: there are {count}, counted from 0"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // a panic is what is tried
    use super::*;

    #[test]
    fn a_panic_becomes_a_status() {
        let mut error = ptr::null_mut();
        let status = call(&raw mut error, || panic!("of {}", "ours"));
        assert_eq!(status, airgap_status_t::AIRGAP_ERROR_PANIC);
        let message = borrow(error, "error")
            .map(|e| e.message().to_owned())
            .ok()
            .unwrap();
        assert!(message.contains("of ours"), "{message}");
        free(error);
        assert_eq!(
            call(ptr::null_mut(), || panic!("again")),
            airgap_status_t::AIRGAP_ERROR_PANIC
        );
    }

    #[test]
    fn texts_keep_their_length_in_c() {
        assert_eq!(c_text("a\0b").to_str(), Ok("a\u{fffd}b"));
        assert_eq!(c_text("").to_str(), Ok(""));
    }

    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Grown {
        size: usize,
        first: u32,
        second: u32,
    }

    #[test]
    fn structs_of_other_versions_are_read_as_far_as_both_know_them() {
        let mut given = Grown {
            size: size_of::<usize>() + 4,
            first: 7,
            second: 8,
        };
        // SAFETY: Grown is repr(C) and begins with its size.
        let read = |given: &mut Grown| unsafe { Sized::new(given, "it")?.read("it") };
        let older = read(&mut given).ok().unwrap();
        assert_eq!((older.first, older.second), (7, 0));
        let mut longer = [Grown {
            size: 2 * size_of::<Grown>(),
            first: 1,
            second: 2,
        }; 2];
        assert!(
            read(&mut longer[0]).is_err(),
            "a field that is not known is set"
        );
        longer[1] = Grown {
            size: 0,
            first: 0,
            second: 0,
        };
        // The struct goes on behind its first half.
        let first = longer.as_mut_ptr();
        // SAFETY: both halves are one object.
        let newer = unsafe { Sized::new(first, "it").and_then(|it| it.read("it")) };
        assert_eq!(newer.ok().unwrap().second, 2);
        given.size = 3;
        assert!(read(&mut given).is_err());
    }
}
