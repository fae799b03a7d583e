//! The codes of a service, declared once.

use super::code::ErrorCode;
use std::fmt::Write as _;

/// What a service says about one of its codes beside its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Traits {
    /// The same call may well succeed in a moment: a retry is useful (and must still be safe).
    pub transient: bool,
    /// The endpoint that answers with it is not well: breakers and balancing count it as a failure.
    pub unhealthy: bool,
}

impl Traits {
    /// An answer like any other: nothing is retried, nobody is blamed.
    pub const NONE: Traits = Traits { transient: false, unhealthy: false };

    /// With [`transient`](Self#structfield.transient) set.
    #[must_use]
    pub const fn transient(self) -> Self {
        Traits { transient: true, ..self }
    }

    /// With [`unhealthy`](Self#structfield.unhealthy) set.
    #[must_use]
    pub const fn unhealthy(self) -> Self {
        Traits { unhealthy: true, ..self }
    }
}

/// One declared code: an entry of the table that [`fault_codes!`](crate::fault_codes) makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The code.
    pub code: ErrorCode,
    /// The variant that stands for it.
    pub name: &'static str,
    /// The message of a fault that says nothing else.
    pub message: &'static str,
    /// The variant's documentation, as it was written; may be empty.
    pub docs: &'static str,
    /// What holds for it.
    pub traits: Traits,
}

impl Declared {
    /// A Markdown table of declared codes, in their order.
    pub fn table(declared: &[Declared]) -> String {
        let mut out = String::from("| code | message | meaning | |\n| --- | --- | --- | --- |\n");
        for d in declared {
            let traits = match d.traits {
                Traits { transient: true, unhealthy: true } => "transient, unhealthy",
                Traits { transient: true, unhealthy: false } => "transient",
                Traits { transient: false, unhealthy: true } => "unhealthy",
                Traits::NONE => "",
            };
            // Writing to a string does not fail.
            let _ = writeln!(out, "| `{}` | {} | {} | {traits} |", d.code, cell(d.message), cell(d.docs));
        }
        out
    }

    /// Stops the compiler at a code that is the stack's own, or is declared twice.
    #[doc(hidden)]
    #[allow(clippy::panic)]
    pub const fn check(declared: &[Declared]) {
        let mut i = 0;
        while i < declared.len() {
            if declared[i].code.is_mcp() {
                panic!("the domain MCP is the stack's own: give the service one of its own");
            }
            let mut j = 0;
            while j < i {
                if declared[i].code.same(&declared[j].code) {
                    panic!("an error code is declared twice");
                }
                j += 1;
            }
            i += 1;
        }
    }
}

/// Text that fits between the bars of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Declares the codes that a service fails with, once: an enum, the faults it makes, parsing, what retry
/// and breakers should think of each, and a table for the documentation.
///
/// A code is checked when it is compiled: it must have the right form, must not be of the domain `MCP`, and
/// must not be there twice. After the message may stand `transient` (a retry is useful) and `unhealthy`
/// (the endpoint is not well); a code with neither is an answer like any other.
///
/// ```
/// towpath_core::fault_codes! {
///     /// What the order service fails with.
///     pub enum OrderFault {
///         /// A line has a quantity of zero or less.
///         BadQuantity = "ORD-E-003", "quantity must be positive";
///         /// The order book is being reopened.
///         Busy = "ORD-W-201", "busy", transient;
///         /// The database is gone.
///         Broken = "ORD-E-900", "database gone", transient, unhealthy;
///     }
/// }
/// use towpath_core::{DefaultClassify, Fault};
///
/// let fault: Fault = OrderFault::BadQuantity.into();
/// assert_eq!(fault.to_string(), "ORD-E-003 quantity must be positive");
/// assert_eq!(OrderFault::Busy.fault_with("try in 2 s").message(), "try in 2 s");
/// assert_eq!(OrderFault::parse(fault.code()), Some(OrderFault::BadQuantity));
/// assert!(OrderFault::Broken.traits().unhealthy);
/// assert!(OrderFault::docs().contains("| `ORD-W-201` | busy | The order book is being reopened. | transient |"));
///
/// // Who calls the service tells its classifier.
/// let classify = DefaultClassify::new().declare(OrderFault::declared());
/// assert!(classify.traits(OrderFault::Busy.code()).transient);
/// ```
///
/// ```compile_fail
/// towpath_core::fault_codes! { enum Bad { Lower = "ord-e-003", "no code"; } }
/// ```
///
/// ```compile_fail
/// towpath_core::fault_codes! { enum Bad { Ours = "MCP-E-001", "the stack's own"; } }
/// ```
///
/// ```compile_fail
/// towpath_core::fault_codes! { enum Bad { One = "ORD-E-001", "a"; Two = "ORD-E-001", "b"; } }
/// ```
#[macro_export]
macro_rules! fault_codes {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[doc = $doc:literal])* $variant:ident = $code:literal, $message:literal $(, $flag:ident)* ;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name {
            $($(#[doc = $doc])* #[doc = ::core::concat!("\n\n`", $code, "`: ", $message, ".")] $variant,)*
        }

        #[allow(dead_code)] // a service seldom needs everything that is made here
        impl $name {
            /// All of them, in the order in which they are declared.
            $vis const ALL: &'static [$name] = &[$($name::$variant),*];

            const DECLARED: &'static [$crate::Declared] = &[$($crate::Declared {
                code: $crate::ErrorCode::from_static($code),
                name: ::core::stringify!($variant),
                message: $message,
                docs: ::core::concat!("", $($doc,)*),
                traits: $crate::Traits::NONE$(.$flag())*,
            }),*];

            /// All of them as values, for a classifier.
            $vis const fn declared() -> &'static [$crate::Declared] {
                Self::DECLARED
            }

            const fn of(self) -> &'static $crate::Declared {
                &Self::DECLARED[self as usize]
            }

            /// The code.
            $vis const fn code(self) -> $crate::ErrorCode {
                self.of().code
            }

            /// The message of a fault that says nothing else.
            $vis const fn message(self) -> &'static str {
                self.of().message
            }

            /// What retry and breakers should think of it.
            $vis const fn traits(self) -> $crate::Traits {
                self.of().traits
            }

            /// Which of them a code is.
            $vis fn parse(code: $crate::ErrorCode) -> ::core::option::Option<Self> {
                Self::ALL.iter().copied().find(|one| one.code() == code)
            }

            /// A fault with the declared message.
            $vis fn fault(self) -> $crate::Fault {
                $crate::Fault::new(self.code(), self.message())
            }

            /// A fault with a message of its own.
            $vis fn fault_with(
                self,
                message: impl ::core::convert::Into<::std::borrow::Cow<'static, str>>,
            ) -> $crate::Fault {
                $crate::Fault::new(self.code(), message)
            }

            /// The codes as a Markdown table.
            $vis fn docs() -> ::std::string::String {
                $crate::Declared::table(Self::DECLARED)
            }
        }

        const _: () = $crate::Declared::check($name::declared());

        impl ::core::convert::From<$name> for $crate::Fault {
            fn from(one: $name) -> Self {
                one.fault()
            }
        }

        impl ::core::convert::From<$name> for $crate::ErrorCode {
            fn from(one: $name) -> Self {
                one.code()
            }
        }
    };
}
