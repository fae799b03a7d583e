//! What a handler may ask for.

use super::reject;
use bytes::Bytes;
use std::{
    any::{Any, type_name},
    ops::{Deref, DerefMut},
};
use towpath_core::{CodecId, Context, Fault, Metadata, Method, Mode, Request};

/// An argument of a handler that is read from the request beside the body, or from the router's state.
///
/// Implement it for a type of your own to have it as an argument; `request` shows the whole call. What it
/// fails with is the answer, and the handler does not run. It is not `async`: what waits (a look-up of a
/// session, say) belongs into a layer, which leaves its result in the request's extensions
/// ([`Extension`]), or into the handler.
///
/// ```
/// use towpath_core::{ErrorKind, Fault, Request};
/// use towpath_transport::router::FromParts;
///
/// struct Tenant(String);
///
/// impl<S> FromParts<S> for Tenant {
///     fn from_parts(request: &Request, _: &S) -> Result<Self, Fault> {
///         match request.metadata().get_str("tenant") {
///             Some(name) => Ok(Tenant(name.to_owned())),
///             None => Err(Fault::new(ErrorKind::PermissionDenied, "say which tenant").with_not_processed(true)),
///         }
///     }
/// }
/// # let mut request = Request::new("A.B", bytes::Bytes::new());
/// # assert!(Tenant::from_parts(&request, &()).is_err());
/// # request.metadata_mut().insert("tenant", "acme").unwrap();
/// # assert_eq!(Tenant::from_parts(&request, &()).unwrap().0, "acme");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler with the state `{S}`",
    note = "only the last argument may take the body; all others implement `FromParts`"
)]
pub trait FromParts<S>: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// The fault is the answer to the call.
    fn from_parts(request: &Request, state: &S) -> Result<Self, Fault>;
}

/// The last argument of a handler, which may take the request apart: its body, or the whole of it.
///
/// `M` tells apart what implements this directly from what implements [`FromParts`], and need never be
/// named.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the last argument of a handler with the state `{S}`",
    note = "it is `Json<T>`, `Protobuf<T>`, `Typed<T>`, `Encoded<C, T>`, `Raw`, `Bytes`, `Request`, or anything that \
            implements `FromParts`; `T` has to be readable in that codec"
)]
pub trait FromRequest<S, M = ViaRequest>: Sized {
    /// The codecs that it reads, for those who ask what a server takes; `None`: it takes whatever comes.
    const CODECS: Option<&'static [CodecId]> = None;

    /// Reads it.
    ///
    /// # Errors
    /// The fault is the answer to the call.
    fn from_request(request: Request, state: &S) -> Result<Self, Fault>;
}

/// Marks what implements [`FromRequest`] itself.
#[derive(Debug)]
pub enum ViaRequest {}

/// Marks what is a [`FromRequest`] because it is a [`FromParts`].
#[derive(Debug)]
pub enum ViaParts {}

impl<S, T: FromParts<S>> FromRequest<S, ViaParts> for T {
    #[inline]
    fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        T::from_parts(&request, state)
    }
}

/// The router's state, or a part of it: see [`FromRef`].
#[derive(Clone, Copy, Debug, Default)]
pub struct State<T>(pub T);

/// A part of a state that handlers ask for as [`State<Self>`](State). Every `Clone` type is a part of
/// itself; of a struct of your own, write which field it is.
///
/// It is cloned for each call: put an `Arc` around what is dear.
pub trait FromRef<T> {
    /// The part.
    fn from_ref(whole: &T) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    #[inline]
    fn from_ref(whole: &T) -> Self {
        whole.clone()
    }
}

impl<S, T: FromRef<S>> FromParts<S> for State<T> {
    #[inline]
    fn from_parts(_: &Request, state: &S) -> Result<Self, Fault> {
        Ok(State(T::from_ref(state)))
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for State<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// A value that a layer left in the request's extensions. Without it the call is answered MCP-E-009, not
/// processed: the layer is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extension<T>(pub T);

impl<S, T: Any + Clone + Send + Sync> FromParts<S> for Extension<T> {
    fn from_parts(request: &Request, _: &S) -> Result<Self, Fault> {
        match request.extensions().get::<T>() {
            Some(value) => Ok(Extension(value.clone())),
            None => {
                let why = format!("no layer left a {}", type_name::<T>());
                Err(reject::misconfigured(request.method(), &why))
            }
        }
    }
}

/// Arguments that are a clone of something in the request.
macro_rules! parts {
    ($($type:ty: $read:expr;)*) => {$(
        impl<S> FromParts<S> for $type {
            #[inline]
            fn from_parts(request: &Request, _: &S) -> Result<Self, Fault> {
                let read: fn(&Request) -> $type = $read;
                Ok(read(request))
            }
        }
    )*};
}

parts! {
    Method: |request| request.method().clone();
    Context: |request| request.context().clone();
    Metadata: |request| request.metadata().clone();
    CodecId: Request::codec;
    Mode: Request::mode;
}

/// The call as it came.
impl<S> FromRequest<S> for Request {
    #[inline]
    fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        Ok(request)
    }
}

/// The body as it came, whatever its codec.
impl<S> FromRequest<S> for Bytes {
    #[inline]
    fn from_request(request: Request, _: &S) -> Result<Self, Fault> {
        Ok(request.into_body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct App {
        name: &'static str,
    }

    impl FromRef<App> for &'static str {
        fn from_ref(app: &App) -> Self {
            app.name
        }
    }

    #[test]
    fn a_state_is_given_whole_or_in_part() {
        let request = Request::new("A.B", Bytes::new());
        let app = App { name: "shop" };
        assert_eq!(State::<App>::from_parts(&request, &app).unwrap().name, "shop");
        assert_eq!(State::<&str>::from_parts(&request, &app).unwrap().0, "shop");
    }

    #[test]
    fn an_extension_has_to_be_there() {
        let mut request = Request::new("A.B", Bytes::new());
        let fault = Extension::<u8>::from_parts(&request, &()).unwrap_err();
        assert_eq!(fault.code(), "MCP-E-009");
        assert!(fault.not_processed() && fault.message().contains("u8"), "{fault}");
        request.extensions_mut().insert(7u8);
        assert_eq!(Extension::<u8>::from_parts(&request, &()).unwrap().0, 7);
    }
}
