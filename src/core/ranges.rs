//! IANA's special-purpose address registries.
