//! Policy text in Cedar's one layout, by Cedar's own formatter.

use std::str::FromStr;

use cedar_policy::PolicySet;
use cedar_policy_formatter::{Config, policies_str_to_pretty};

use super::super::problem::{Place, Problem};
use super::statement::one_line;
use super::reading;

/// A policy is laid out within so many columns where it can be.
const COLUMNS: usize = 80;
/// What is inside of something stands so much further right.
const INDENT: isize = 2;
/// A comment may move the text around it, which is then laid out once more;
/// after so many rounds it has come to rest or never will.
const ROUNDS: usize = 8;

/// `text` laid out; `file` is how messages name it.
///
/// # Errors
/// What is wrong with a text that is not Cedar; that the formatter failed, or
/// would have changed a policy or lost a comment.
pub fn formatted(file: &str, text: &str) -> Result<String, Vec<Problem>> {
    let policies = reading::parsed(file, text)?;
    let config = Config { line_width: COLUMNS, indent_width: INDENT };
    let refused = |message: String| {
        let problem = Problem::error(Place::of_offset(file, text, 0), message);
        vec![problem.with_help("this text is left as it is; lay it out by hand")]
    };
    let mut pretty = text.to_owned();
    for _ in 0..ROUNDS {
        let next = policies_str_to_pretty(&pretty, &config)
            .map_err(|error| refused(format!("Cedar's formatter failed: {}", one_line(&error.to_string()))))?;
        if let Some(loss) = lost(&policies, text, &next) {
            return Err(refused(format!("Cedar's formatter would have {loss}")));
        }
        if next == pretty {
            return Ok(pretty);
        }
        pretty = next;
    }
    Err(refused("Cedar's formatter does not come to an end with this text's comments".to_owned()))
}

/// What was lost from `text` on its way to `pretty`, if anything.
fn lost(policies: &PolicySet, text: &str, pretty: &str) -> Option<String> {
    let said = |policies: PolicySet| policies.to_json().ok();
    let before = said(policies.clone());
    if before.is_none() || before != PolicySet::from_str(pretty).ok().and_then(said) {
        return Some("changed a policy".to_owned());
    }
    let mut after = comments(pretty);
    for comment in comments(text) {
        match after.iter().position(|kept| *kept == comment) {
            Some(index) => after.swap_remove(index),
            None => return Some(format!("lost a comment: `{}`", one_line(comment))),
        };
    }
    after.first().map(|comment| format!("made up a comment: `{}`", one_line(comment)))
}

/// The comments of `text`, without the blanks around them.
pub(super) fn comments(text: &str) -> Vec<&str> {
    let mut comments = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find(['"', '/']) {
        let (_, inside) = rest.split_at(start);
        rest = match inside.strip_prefix('"') {
            Some(string) => after_string(string),
            None if inside.starts_with("//") => {
                let (comment, rest) = inside.split_once(['\n', '\r']).unwrap_or((inside, ""));
                comments.push(comment.trim());
                rest
            }
            None => inside.get(1..).unwrap_or_default(),
        };
    }
    comments
}

/// What follows the string whose opening quote has just been read.
fn after_string(text: &str) -> &str {
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => drop(characters.next()),
            _ => {}
        }
    }
    characters.as_str()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn policies_get_one_layout_and_keep_it() {
        let text = "permit(principal==Agent::\"a\",action,resource)when{context.port==443};";
        let pretty = formatted("f", text).unwrap();
        assert_eq!(
            pretty,
            "permit (\n  principal == Agent::\"a\",\n  action,\n  resource\n)\nwhen { context.port == 443 };\n"
        );
        assert_eq!(formatted("f", &pretty).unwrap(), pretty);
    }

    #[test]
    fn comments_stay_wherever_they_stand() {
        let text = "\
// before everything

// before the policy
@id(\"x\") // after an annotation
permit( // after the bracket
  principal, // after the principal
  // before the action
  action == Action::\"net.connect\",
  resource == Resource::\"a.example.com:443\" // no // nesting
) // after the scope
when { // in the condition
  // before the test
  context.port == 443 // after the test
  || context.host like \"//*\" // after another
  // before the end
}; // after the policy
// between

permit(principal, action, resource);
// after everything";
        let pretty = formatted("f", text).unwrap();
        assert_eq!(comments(&pretty).len(), 16, "{pretty}");
        assert_eq!(formatted("f", &pretty).unwrap(), pretty);
    }

    #[test]
    fn a_text_without_policies_is_a_text() {
        for text in ["", "\n", "// nothing yet\n"] {
            let pretty = formatted("f", text).unwrap();
            assert_eq!(comments(&pretty), comments(text));
            assert_eq!(formatted("f", &pretty).unwrap(), pretty, "{text:?}");
        }
    }

    #[test]
    fn templates_and_line_ends_of_other_systems_survive() {
        let text =
            "// a\r\npermit(principal == ?principal, action, resource)\r\nwhen { context.host == \"a\\nb\" };\r\n";
        let pretty = formatted("f", text).unwrap();
        assert!(pretty.starts_with("// a\npermit (\n  principal == ?principal,\n"), "{pretty}");
    }

    #[test]
    fn what_is_no_cedar_is_told_with_its_place() {
        let problems = formatted("f", "permit(principal, action, resource)\n  wen { true };").unwrap_err();
        assert!(problems[0].to_string().starts_with("f:2:3: error: "), "{}", problems[0]);
        assert!(formatted("f", &"(".repeat(1000)).is_err());
    }

    #[test]
    fn a_changed_policy_and_a_lost_comment_are_noticed() {
        let text = "// a\npermit(principal, action, resource); // b";
        let policies = reading::parsed("f", text).unwrap();
        assert_eq!(lost(&policies, text, text), None);
        for (other, word) in [
            ("// a\npermit(principal, action, resource);", "lost a comment: `// b`"),
            ("// a\n// b\n// a\npermit(principal, action, resource);", "made up"),
            ("// a\n// b\nforbid(principal, action, resource);", "changed a policy"),
            ("// a\n// b\n@id(\"x\") permit(principal, action, resource);", "changed a policy"),
            ("// a\n// b", "changed a policy"),
            ("// a // b permit(", "changed a policy"),
        ] {
            assert!(lost(&policies, text, other).is_some_and(|loss| loss.contains(word)), "{other}");
        }
        let template = "permit(principal == ?principal, action, resource);";
        let policies = reading::parsed("f", template).unwrap();
        assert!(lost(&policies, template, "permit(principal in ?principal, action, resource);").is_some());
    }

    #[test]
    fn a_string_holds_no_comment_and_a_comment_no_string() {
        assert_eq!(comments("\"// a\\\" // b\" // c \"d\n\"e\" / // f\rg // h"), ["// c \"d", "// f", "// h"]);
    }

    #[test]
    fn the_shipped_policies_are_laid_out() {
        for text in
            [include_str!("../../../policies/story/story.cedar"), include_str!("../../../policies/team/team.cedar")]
        {
            assert_eq!(formatted("f", text).unwrap(), text);
        }
    }

    proptest! {
        // Cedar's parser is slow without optimization.
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn comments_and_blanks_between_any_words_are_no_obstacle(between in vec(BETWEEN, WORDS.split(' ').count())) {
            let text: String = between.iter().zip(WORDS.split(' ')).flat_map(|(between, word)| [between, word]).collect();
            let pretty = formatted("f", &text).map_err(|problems| TestCaseError::fail(format!("{problems:?}")))?;
            prop_assert_eq!(formatted("f", &pretty).unwrap(), pretty);
        }
    }

    const BETWEEN: &str = " |\n|\r\n|\n\n|\t//x\n| // y \n|\n\n// \"z\n\n//\n|//\r";

    const WORDS: &str = "\
        @id ( \"i//i\" ) permit ( principal == Agent::\"a\" , \
        action in [ Action::\"net.connect\" , Action::\"dns.query\" ] , resource ) \
        when { context . host like \"*.example.com\" || ! ( [ 1 , 2 ] . contains ( context . port ) ) \
        && ( if true then false else { a : true } . a ) && ip ( \"192.0.2.7\" ) . isLoopback ( ) } \
        unless { context has ip } ; forbid ( principal , action , resource in Domain::\"b\" ) ;";
}
