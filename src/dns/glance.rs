//! [`Glance`]: a look at the kernel, once for many questions.

/// Says whether the kernel still holds all that it was told. It looks at most
/// once for all questions that arrived together.
pub struct Glance {
    look: Box<dyn FnMut() -> bool + Send>,
    seen: Option<bool>,
}

impl Glance {
    /// By `look`.
    pub fn new(look: impl FnMut() -> bool + Send + 'static) -> Self {
        Self { look: Box::new(look), seen: None }
    }

    /// Sees nothing, ever.
    pub fn blind() -> Self {
        Self::new(|| false)
    }

    /// What was seen before counts no more.
    pub(super) const fn begin(&mut self) {
        self.seen = None;
    }

    pub(super) fn holds(&mut self) -> bool {
        *self.seen.get_or_insert_with(&mut self.look)
    }
}
