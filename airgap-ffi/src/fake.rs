//! A kernel for the tests of the calling program.

use std::ffi::c_int;

use airgap::{FakeKernel, Host};

use crate::boundary::{Failure, Out, borrow, call, free};
use crate::error::airgap_error_t;
use crate::host::airgap_host_t;
use crate::status::airgap_status_t;

/// A kernel for tests: nf_tables in memory, without root and without any change
/// to the machine. It refuses what a real kernel refuses, with its error
/// numbers.
pub struct airgap_fake_kernel_t(FakeKernel);

/// Makes a kernel for tests with an empty ruleset and the loopback device. The
/// caller frees `kernel` by airgap_fake_kernel_free.
///
/// Errors: AIRGAP_ERROR_IO when there can be no folder for temporary files.
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_fake_kernel_new(
    kernel: *mut *mut airgap_fake_kernel_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        Out::new(kernel, "kernel")?.give(airgap_fake_kernel_t(FakeKernel::new()?))
    })
}

/// A host whose kernel is a fake. Several hosts may have the same one, which
/// lives as long as the last of them. The caller frees `host` by
/// airgap_host_free.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_host_fake(
    kernel: *const airgap_fake_kernel_t,
    host: *mut *mut airgap_host_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let out = Out::new(host, "host")?;
        out.give(airgap_host_t(Host::fake(&borrow(kernel, "kernel")?.0)))
    })
}

/// The next `times` requests are refused with this error number: EPERM as
/// without rights, ERESTART as while another program changes the ruleset, any
/// other as the kernel's answer to the first operation of an apply.
///
/// Errors: AIRGAP_ERROR_ARGUMENT for a number that is no error's, and for more
/// than 1,000,000 times. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_fake_kernel_refuse(
    kernel: *const airgap_fake_kernel_t,
    error_number: c_int,
    times: usize,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        let kernel = &borrow(kernel, "kernel")?.0;
        // The kernel's error numbers end at MAX_ERRNO.
        if !(1..=4095).contains(&error_number) || times > 1_000_000 {
            return Err(Failure::Argument(format!(
                "expected an error number from 1 to 4095 and at most 1000000 times, found {error_number} and {times}"
            )));
        }
        kernel.refuse(error_number, times);
        Ok(())
    })
}

/// The next request ends in a panic inside the library, which comes back as
/// AIRGAP_ERROR_PANIC.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_fake_kernel_panic(
    kernel: *const airgap_fake_kernel_t,
    error: *mut *mut airgap_error_t,
) -> airgap_status_t {
    call(error, || {
        borrow(kernel, "kernel")?.0.panic_once();
        Ok(())
    })
}

/// Frees the handle of a kernel for tests. NULL is fine. Its hosts live on.
///
/// Threads: any, while no other uses the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn airgap_fake_kernel_free(kernel: *mut airgap_fake_kernel_t) {
    free(kernel);
}
