//! Record types that no `dns.query` has.

use cedar_policy_core::ast::{BinaryOp, Expr, ExprKind, Literal, Var};

use rustc_hash::FxHashMap;

use super::super::super::problem::{Problem, nearest};
use super::super::super::query::RecordKind;
use super::super::super::rule::Rule;
use super::super::statement::Statement;

/// How a type without a mnemonic is written (RFC 3597 section 5).
const BY_NUMBER: &str = "TYPE";
/// CAA; those above have none here.
const LAST_WITH_MNEMONIC: u16 = 257;

/// Warnings about what `statements` compare `context.qtype` with.
pub(super) fn doubts(statements: &[&Statement]) -> Vec<Problem> {
    let types = Types::new();
    statements.iter().flat_map(|statement| types.doubts(statement)).collect()
}

/// The types that have a mnemonic, by it.
struct Types(FxHashMap<String, RecordKind>);

impl Types {
    fn new() -> Self {
        let kinds = (0..=LAST_WITH_MNEMONIC).map(RecordKind::from_number);
        let named = kinds.map(|kind| (kind.to_string(), kind));
        Self(named.filter(|(mnemonic, _)| !mnemonic.starts_with(BY_NUMBER)).collect())
    }

    fn doubts(&self, statement: &Statement) -> Vec<Problem> {
        let Some(condition) = statement.ast().non_scope_constraints() else { return Vec::new() };
        condition
            .subexpressions()
            .flat_map(compared)
            .filter_map(|value| {
                let ExprKind::Lit(Literal::String(text)) = value.expr_kind() else { return None };
                let (message, help) = self.fault(text)?;
                let place = statement.place_of(value.source_loc());
                Some(Problem::warning(place, message).with_help(help).of(Rule::Unreachable))
            })
            .collect()
    }

    fn fault(&self, text: &str) -> Option<(String, String)> {
        if let Some(kind) = self.named(text) {
            return kind.leads_to_connections().then(|| {
                (
                    format!("no `dns.query` has the type `{text}`: such a question is answered by `net.connect`"),
                    "permit net.connect to the name instead".to_owned(),
                )
            });
        }
        let upper = text.to_ascii_uppercase();
        let by_number = upper.strip_prefix(BY_NUMBER).and_then(|number| number.parse().ok());
        let help = match self.named(&upper).or(by_number.map(RecordKind::from_number)) {
            Some(kind) => format!("did you mean `{kind}`?"),
            None => match nearest(&upper, self.0.keys().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write a mnemonic such as `MX`, or a type by its number, as `TYPE44`".to_owned(),
            },
        };
        Some((format!("no question has the type `{text}`"), help))
    }

    /// The type that is written just so.
    fn named(&self, text: &str) -> Option<RecordKind> {
        let by_number = || {
            let kind = RecordKind::from_number(text.strip_prefix(BY_NUMBER)?.parse().ok()?);
            (kind.to_string() == text).then_some(kind)
        };
        self.0.get(text).copied().or_else(by_number)
    }
}

fn compared(expression: &Expr) -> Vec<&Expr> {
    let ExprKind::BinaryApp { op, arg1, arg2 } = expression.expr_kind() else { return Vec::new() };
    match op {
        BinaryOp::Eq if is_type(arg1) => vec![&**arg2],
        BinaryOp::Eq if is_type(arg2) => vec![&**arg1],
        BinaryOp::Contains if is_type(arg2) => match arg1.expr_kind() {
            ExprKind::Set(members) => members.iter().collect(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

fn is_type(expression: &Expr) -> bool {
    matches!(
        expression.expr_kind(),
        ExprKind::GetAttr { expr, attr } if attr == "qtype" && matches!(expr.expr_kind(), ExprKind::Var(Var::Context))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_written_as_questions_have_it() {
        let types = Types::new();
        for text in ["MX", "TXT", "CAA", "TYPE44", "TYPE65535"] {
            assert_eq!(types.fault(text), None, "{text}");
        }
        for (text, help) in
            [("mx", "`MX`"), ("TYPE15", "`MX`"), ("TYPE044", "`TYPE44`"), ("TXTT", "`TXT`"), ("SSHFP", "TYPE44")]
        {
            assert!(types.fault(text).unwrap().1.contains(help), "{text}: {:?}", types.fault(text));
        }
        for text in ["A", "AAAA", "HTTPS", "SVCB"] {
            assert!(types.fault(text).unwrap().0.contains("answered by `net.connect`"), "{text}");
        }
    }
}
