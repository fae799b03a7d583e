//! What a registry fails with on purpose.

towpath_core::fault_codes! {
    /// What a registry fails with on purpose.
    pub enum RegistryFault {
        /// A name, an address or a size is out of bounds. The message says which.
        Invalid = "REG-E-001", "the registration is not valid";
        /// The lease ran out, was replaced, or is of another registry: register again.
        UnknownLease = "REG-E-002", "unknown lease: register again";
        /// As much is registered as may be. The message says what.
        Full = "REG-W-003", "the registry is full", transient;
    }
}
