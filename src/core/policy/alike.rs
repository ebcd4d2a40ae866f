//! Statements that are alike but for the ids in their scopes.
//!
//! Cedar's parser takes about 30 us for a statement, and a large policy is
//! mostly the same few statements over and over, for other agents and other
//! hosts. So one statement of each kind is parsed; the others are made of it,
//! with their own ids. Two statements are of one kind if their texts are the
//! same, octet for octet, but for what stands between the quotation marks of
//! `@id("…")` and of the principal's and the resource's entity in the scope,
//! and if none of that holds an escape. Where a grammar says "a string", any
//! string will do, so such a statement would be parsed to the same tree with
//! other ids in it; a test holds the one against the other.

use std::ops::Range;
use std::sync::Arc;

use cedar_policy_core::ast::{
    Annotation, Annotations, Eid, EntityReference, EntityUID, PrincipalConstraint, PrincipalOrResourceConstraint,
    ResourceConstraint, Template,
};
use cedar_policy_core::parser::Loc;

/// What tells a statement from others of its kind. Offsets count from the
/// text's start.
#[derive(Debug)]
pub(super) struct Outline {
    /// The text that all of its kind have in common.
    pub(super) common: String,
    /// From the first annotation or the effect to the semicolon.
    statement: Range<usize>,
    /// Where the scope ends, and the conditions begin.
    pub(super) conditions: usize,
    id: Option<Range<usize>>,
    principal: Option<Range<usize>>,
    resource: Option<Range<usize>>,
}

/// Which part of a statement is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Before,
    Principal,
    Action,
    Resource,
}

/// The outline of the statement in `range` of `text`; `None` if it is like no
/// other.
pub(super) fn outline(text: &str, range: Range<usize>) -> Option<Outline> {
    let octets = text.as_bytes();
    let (mut part, mut depth) = (Part::Before, 0usize);
    let (mut word, mut after_at) = (0..0, false);
    let (mut id, mut principal, mut resource) = (None, None, None);
    let mut first = None;
    let mut at = range.start;
    while at < range.end {
        let octet = *octets.get(at)?;
        if octet == b'/' && octets.get(at + 1) == Some(&b'/') {
            at = end_of_comment(octets, at);
            continue;
        }
        if !octet.is_ascii_whitespace() && first.is_none() {
            first = Some(at);
        }
        if octet.is_ascii_alphanumeric() || octet == b'_' {
            let start = at;
            while octets.get(at).is_some_and(|octet| octet.is_ascii_alphanumeric() || *octet == b'_') {
                at += 1;
            }
            word = start..at;
            continue;
        }
        match octet {
            b'"' => {
                let content = string(octets, at)?;
                let is_id = part == Part::Before && after_at && text.get(word.clone()) == Some("id");
                let slot = match part {
                    Part::Principal => Some(&mut principal),
                    Part::Resource => Some(&mut resource),
                    Part::Before if is_id => Some(&mut id),
                    Part::Before | Part::Action => None,
                };
                at = content.end;
                if let Some(slot) = slot
                    && slot.replace(content).is_some()
                {
                    return None;
                }
            }
            b'@' => after_at = true,
            b'(' if part == Part::Before && !after_at => {
                let effect = text.get(word.clone())?;
                if effect != "permit" && effect != "forbid" {
                    return None;
                }
                (part, depth) = (Part::Principal, 1);
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth = depth.checked_sub(1)?;
                if part == Part::Before {
                    after_at = false;
                } else if depth == 0 {
                    let slots = [id.clone(), principal.clone(), resource.clone()];
                    let statement = first?..range.end;
                    let common = common(text, statement.clone(), &slots)?;
                    return Some(Outline { common, statement, conditions: at + 1, id, principal, resource });
                }
            }
            b',' if depth == 1 => {
                part = match part {
                    Part::Principal => Part::Action,
                    Part::Action => Part::Resource,
                    Part::Before | Part::Resource => return None,
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Past the comment that begins at `at`, as Cedar ends it.
fn end_of_comment(octets: &[u8], at: usize) -> usize {
    let rest = octets.get(at..).unwrap_or_default();
    at + rest.iter().position(|octet| matches!(octet, b'\n' | b'\r')).unwrap_or(rest.len())
}

/// What is inside of the string that begins at `at`; `None` if there is an
/// escape in it, or no end.
fn string(octets: &[u8], at: usize) -> Option<Range<usize>> {
    let rest = octets.get(at + 1..)?;
    let length = rest.iter().position(|octet| matches!(octet, b'"' | b'\\'))?;
    (rest.get(length) == Some(&b'"')).then_some(at + 1..at + 1 + length)
}

/// `text` of the statement without what its `slots` hold, which stand in the
/// order of the text.
fn common(text: &str, statement: Range<usize>, slots: &[Option<Range<usize>>]) -> Option<String> {
    let mut common = String::with_capacity(statement.len());
    let mut from = statement.start;
    for slot in slots.iter().flatten() {
        common.push_str(text.get(from..slot.start)?);
        from = slot.end;
    }
    common.push_str(text.get(from..statement.end)?);
    Some(common)
}

/// The statement that `own` outlines in `text`, made of `example`, which
/// `others` outlines; `None` if the example's tree is not as its outline says.
pub(super) fn made_of(example: &Template, others: &Outline, text: &Arc<str>, own: &Outline) -> Option<Template> {
    let place = |range: Range<usize>| Some(Loc::new(range, Arc::clone(text)));
    let word = |range: &Range<usize>| text.get(range.clone());
    let entity = |entity: &EntityUID, slot: &Range<usize>, of_example: &Range<usize>| {
        let loc = entity.loc()?;
        // From the type's first letter to the closing quotation mark.
        let before = loc.end().checked_sub(loc.start())?.checked_sub(of_example.len() + 1)?;
        let range = slot.start.checked_sub(before)?..slot.end + 1;
        let (kind, id) = entity.clone().components();
        if AsRef::<str>::as_ref(&id).len() != of_example.len() {
            return None;
        }
        Some(Arc::new(EntityUID::from_components(kind, Eid::new(word(slot)?), place(range))))
    };
    let constraint = |constraint: &PrincipalOrResourceConstraint, slot: &Option<_>, of_example: &Option<_>| {
        use PrincipalOrResourceConstraint::{Any, Eq, In, Is, IsIn};
        let (slot, of_example) = match (slot, of_example) {
            (None, None) => return matches!(constraint, Any | Is(_)).then(|| constraint.clone()),
            (Some(slot), Some(of_example)) => (slot, of_example),
            _ => return None,
        };
        let filled = |reference: &EntityReference| match reference {
            EntityReference::EUID(named) => entity(named, slot, of_example).map(EntityReference::EUID),
            EntityReference::Slot(_) => None,
        };
        match constraint {
            Any | Is(_) => None,
            Eq(reference) => filled(reference).map(Eq),
            In(reference) => filled(reference).map(In),
            IsIn(kind, reference) => filled(reference).map(|named| IsIn(Arc::clone(kind), named)),
        }
    };
    let annotations = || -> Option<Annotations> {
        let Some(slot) = &own.id else { return Some(example.annotations_arc().as_ref().clone()) };
        let mut found = false;
        let renamed = example.annotations().map(|(key, annotation)| {
            if AsRef::<str>::as_ref(key) != "id" {
                return Some((key.clone(), annotation.clone()));
            }
            found = true;
            Some((key.clone(), Annotation { val: word(slot)?.into(), loc: place(slot.start - 1..slot.end + 1) }))
        });
        let renamed = renamed.collect::<Option<Annotations>>()?;
        found.then_some(renamed)
    };
    Some(Template::new_shared(
        example.id().clone(),
        place(own.statement.clone()),
        Arc::new(annotations()?),
        example.effect(),
        PrincipalConstraint::new(constraint(
            example.principal_constraint().as_inner(),
            &own.principal,
            &others.principal,
        )?),
        example.action_constraint().clone(),
        ResourceConstraint::new(constraint(example.resource_constraint().as_inner(), &own.resource, &others.resource)?),
        example.non_scope_constraints_arc().cloned(),
    ))
}
