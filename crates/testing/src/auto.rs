//! `Send`, `Sync`, `Unpin`: checked by the compiler, named in a test.

/// Compiles if the type is `Send`.
///
/// ```
/// towpath_testing::assert_send::<Vec<u8>>();
/// ```
///
/// ```compile_fail
/// towpath_testing::assert_send::<std::rc::Rc<u8>>();
/// ```
pub const fn assert_send<T: Send + ?Sized>() {}

/// Compiles if the type is `Sync`.
///
/// ```compile_fail
/// towpath_testing::assert_sync::<std::cell::Cell<u8>>();
/// ```
pub const fn assert_sync<T: Sync + ?Sized>() {}

/// Compiles if the type is `Unpin`.
///
/// ```compile_fail
/// towpath_testing::assert_unpin::<std::marker::PhantomPinned>();
/// ```
pub const fn assert_unpin<T: Unpin + ?Sized>() {}

/// Compiles if the value is `Send`, and hands it back: for a future, whose type has no short name.
///
/// ```
/// let future = towpath_testing::assert_send_value(async { 1 });
/// # drop(future);
/// ```
///
/// ```compile_fail
/// let future = towpath_testing::assert_send_value(async {
///     let local = std::rc::Rc::new(1);
///     std::future::ready(()).await;
///     drop(local);
/// });
/// ```
pub const fn assert_send_value<T: Send>(value: T) -> T {
    value
}
