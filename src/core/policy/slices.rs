//! Which policies a request can concern: those whose scope matches it.
//!
//! Every entity and type that a scope names gets a number, its mark, and each
//! policy is filed under the marks of its scope. A request knows its own marks:
//! those of its principal, action and resource, and of all that they are in.
//! Looking these up finds the policies whose scope holds, and no others, in a
//! time that does not depend on how many there are. A policy that is not found
//! would have come to `false` in its scope, before anything in it could fail;
//! so leaving it out changes neither decision, nor reasons, nor errors.

use cedar_policy_core::ast::{
    ActionConstraint, EntityReference, EntityType, EntityUID, Policy, PrincipalOrResourceConstraint,
};
use rustc_hash::FxHashMap;

/// The number of an entity or a type that some scope names.
type Mark = u32;

/// What a scope without a limit is filed under.
const ANY: Mark = 0;

/// The scopes of a set of policies, which are known by their numbers in it.
#[derive(Debug, Default)]
pub(super) struct Slices {
    marks: Marks,
    scopes: Vec<Scope>,
    /// By action and resource: the policies, by principal.
    filed: FxHashMap<(Mark, Mark), Vec<(Mark, u32)>>,
}

/// What scopes can tell about one entity.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    own: Option<Mark>,
    kind: Option<Mark>,
    /// Of what it is in; sorted.
    above: Vec<Mark>,
}

impl Slices {
    /// Files `policies`, numbered from 0 in their order.
    pub(super) fn of<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Self {
        let mut slices = Self::default();
        for policy in policies {
            slices.file(policy);
        }
        slices.filed.values_mut().for_each(|bucket| bucket.sort_unstable());
        slices
    }

    fn file(&mut self, policy: &Policy) {
        let scope = Scope {
            principal: self.marks.limit(policy.principal_constraint().as_inner()),
            actions: self.marks.actions(policy.action_constraint()),
            resource: self.marks.limit(policy.resource_constraint().as_inner()),
        };
        // More policies than this do not fit into memory.
        let number = u32::try_from(self.scopes.len()).unwrap_or(u32::MAX);
        for action in &scope.actions {
            let bucket = self.filed.entry((action.key(), scope.resource.key())).or_default();
            bucket.push((scope.principal.key(), number));
        }
        self.scopes.push(scope);
    }

    /// Where `entity` stands, which is in all of `above`.
    pub(super) fn standing<'a>(&self, entity: &EntityUID, above: impl IntoIterator<Item = &'a EntityUID>) -> Standing {
        let mut above: Vec<_> = above.into_iter().filter_map(|entity| self.marks.of(entity)).collect();
        above.sort_unstable();
        Standing { own: self.marks.of(entity), kind: self.marks.types.get(entity.entity_type()).copied(), above }
    }

    /// Where the entity of type `kind` and of this `id` stands, which is in none.
    pub(super) fn standing_alone(&self, kind: &EntityType, id: &str) -> Standing {
        let own = self.marks.entities.get(kind).and_then(|known| known.get(id)).copied();
        Standing { own, kind: self.marks.types.get(kind).copied(), above: Vec::new() }
    }

    /// Where an entity of type `kind` stands that is in those of type
    /// `above_kind` with the ids `above`, whatever its own id is.
    pub(super) fn nameless<'a>(
        &self,
        kind: &EntityType,
        above_kind: &EntityType,
        above: impl IntoIterator<Item = &'a str>,
    ) -> Standing {
        let known = self.marks.entities.get(above_kind);
        let marks = above.into_iter().filter_map(|id| known?.get(id).copied());
        let mut above: Vec<_> = marks.collect();
        above.sort_unstable();
        Standing { own: None, kind: self.marks.types.get(kind).copied(), above }
    }

    /// `standing` with an id of its own; `None` if no scope names that id.
    pub(super) fn named(&self, standing: &Standing, kind: &EntityType, id: &str) -> Option<Standing> {
        let own = self.marks.entities.get(kind)?.get(id).copied()?;
        Some(Standing { own: Some(own), ..standing.clone() })
    }

    /// The policies whose scope holds, in the order of their numbers.
    pub(super) fn matching(&self, principal: &Standing, action: &Standing, resource: &Standing) -> Vec<u32> {
        self.found(principal, action, resource, resource.keys())
    }

    /// Of those, the ones that name the resource itself.
    pub(super) fn matching_by_name(&self, principal: &Standing, action: &Standing, resource: &Standing) -> Vec<u32> {
        self.found(principal, action, resource, resource.own.into_iter())
    }

    fn found(
        &self,
        principal: &Standing,
        action: &Standing,
        resource: &Standing,
        resource_keys: impl Iterator<Item = Mark> + Clone,
    ) -> Vec<u32> {
        let mut found = Vec::new();
        for action_key in action.keys() {
            for resource_key in resource_keys.clone() {
                if let Some(bucket) = self.filed.get(&(action_key, resource_key)) {
                    look_up(bucket, principal, &mut found);
                }
            }
        }
        found.retain(|&number| {
            self.scopes.get(number as usize).is_some_and(|scope| scope.holds(principal, action, resource))
        });
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Adds the policies of `bucket` that are filed under `principal`.
fn look_up(bucket: &[(Mark, u32)], principal: &Standing, found: &mut Vec<u32>) {
    if bucket.len() <= principal.above.len() {
        found.extend(bucket.iter().filter(|(key, _)| principal.has(*key)).map(|(_, number)| *number));
        return;
    }
    for key in principal.keys() {
        let start = bucket.partition_point(|(filed, _)| *filed < key);
        let under_key = bucket.iter().skip(start).take_while(|(filed, _)| *filed == key);
        found.extend(under_key.map(|(_, number)| *number));
    }
}

impl Standing {
    /// Whatever it may be filed under.
    fn keys(&self) -> impl Iterator<Item = Mark> + Clone + '_ {
        std::iter::once(ANY).chain(self.kind).chain(self.own).chain(self.above.iter().copied())
    }

    fn has(&self, key: Mark) -> bool {
        key == ANY || self.kind == Some(key) || self.is_within(key)
    }

    fn is_within(&self, mark: Mark) -> bool {
        self.own == Some(mark) || self.above.binary_search(&mark).is_ok()
    }
}

/// A policy's scope, in marks.
#[derive(Debug)]
struct Scope {
    principal: Limit,
    /// Any of these.
    actions: Box<[Limit]>,
    resource: Limit,
}

impl Scope {
    fn holds(&self, principal: &Standing, action: &Standing, resource: &Standing) -> bool {
        self.principal.holds(principal)
            && self.resource.holds(resource)
            && self.actions.iter().any(|limit| limit.holds(action))
    }
}

/// What a scope says of the principal, the action or the resource.
#[derive(Clone, Copy, Debug)]
enum Limit {
    Any,
    Is(Mark),
    Eq(Mark),
    In(Mark),
    IsIn(Mark, Mark),
    /// A slot that nothing fills.
    Nothing,
}

impl Limit {
    fn key(self) -> Mark {
        match self {
            Self::Any | Self::Nothing => ANY,
            Self::Is(mark) | Self::Eq(mark) | Self::In(mark) | Self::IsIn(_, mark) => mark,
        }
    }

    fn holds(self, standing: &Standing) -> bool {
        match self {
            Self::Any => true,
            Self::Is(kind) => standing.kind == Some(kind),
            Self::Eq(mark) => standing.own == Some(mark),
            Self::In(mark) => standing.is_within(mark),
            Self::IsIn(kind, mark) => standing.kind == Some(kind) && standing.is_within(mark),
            Self::Nothing => false,
        }
    }
}

/// The numbers given out. Entities and types never share one.
#[derive(Debug, Default)]
struct Marks {
    entities: FxHashMap<EntityType, FxHashMap<Box<str>, Mark>>,
    types: FxHashMap<EntityType, Mark>,
    given: Mark,
}

impl Marks {
    fn of(&self, entity: &EntityUID) -> Option<Mark> {
        self.entities.get(entity.entity_type())?.get(AsRef::<str>::as_ref(entity.eid())).copied()
    }

    fn limit(&mut self, constraint: &PrincipalOrResourceConstraint) -> Limit {
        let filled = |reference: &EntityReference| match reference {
            EntityReference::EUID(entity) => Some(std::sync::Arc::clone(entity)),
            EntityReference::Slot(_) => None,
        };
        match constraint {
            PrincipalOrResourceConstraint::Any => Limit::Any,
            PrincipalOrResourceConstraint::Is(kind) => Limit::Is(self.kind(kind)),
            PrincipalOrResourceConstraint::Eq(reference) => {
                filled(reference).map_or(Limit::Nothing, |entity| Limit::Eq(self.entity(&entity)))
            }
            PrincipalOrResourceConstraint::In(reference) => {
                filled(reference).map_or(Limit::Nothing, |entity| Limit::In(self.entity(&entity)))
            }
            PrincipalOrResourceConstraint::IsIn(kind, reference) => {
                filled(reference).map_or(Limit::Nothing, |entity| Limit::IsIn(self.kind(kind), self.entity(&entity)))
            }
        }
    }

    fn actions(&mut self, constraint: &ActionConstraint) -> Box<[Limit]> {
        match constraint {
            ActionConstraint::Any => [Limit::Any].into(),
            ActionConstraint::Eq(action) => [Limit::Eq(self.entity(action))].into(),
            ActionConstraint::In(actions) => actions.iter().map(|action| Limit::In(self.entity(action))).collect(),
        }
    }

    fn entity(&mut self, entity: &EntityUID) -> Mark {
        let ids = self.entities.entry(entity.entity_type().clone()).or_default();
        let id: &str = entity.eid().as_ref();
        if let Some(mark) = ids.get(id) {
            return *mark;
        }
        self.given += 1;
        ids.insert(id.into(), self.given);
        self.given
    }

    fn kind(&mut self, kind: &EntityType) -> Mark {
        if let Some(mark) = self.types.get(kind) {
            return *mark;
        }
        self.given += 1;
        self.types.insert(kind.clone(), self.given);
        self.given
    }
}
