use proptest::prelude::*;

use super::*;

fn line(arguments: &[&str]) -> String {
    let octets: Vec<u8> = arguments.iter().flat_map(|argument| [argument.as_bytes(), &[0]].concat()).collect();
    command_line(&octets, false)
}

#[test]
fn a_command_without_secrets_is_shown_as_it_is() {
    for arguments in [
        &["node", "postinstall.js"][..],
        &["/usr/bin/npm", "install", "left-pad@1.3.0", "--save-dev"],
        &["git", "clone", "https://example.com/left-pad.git"],
        &["curl", "-sS", "https://telemetry.example.com:8443/v1/collect?session=7"],
        &["npm", "install", "https://registry.example.com/@scope/package/-/package-1.0.0.tgz"],
        &["/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "--library-path", "/opt/NodeModules2/lib"],
        &["cargo", "build", "--target", "x86_64-unknown-linux-gnu"],
        &["python3", "-m", "http.server", "8000"],
        &["git@example.com:left/pad.git"],
        &["node_modules/Left-Pad2/index.js"],
        &["docker", "run", "-p", "8080:80", "nginx"],
    ] {
        assert_eq!(line(arguments), arguments.join(" "));
    }
    assert_eq!(line(&["sh", "-c", "node a.js && echo"]), "sh -c 'node a.js && echo'");
    assert_eq!(line(&["printf", "", "x"]), "printf '' x");
    assert_eq!(command_line(b"npm install left-pad\0\0\0\0", false), "npm install left-pad");
    assert_eq!(command_line(b"", false), "");
}

#[test]
fn what_follows_a_key_that_sounds_secret_is_masked() {
    for (arguments, shown) in [
        (&["x", "--token=abc"][..], "x --token=***"),
        (&["x", "--token", "abc", "y"], "x --token *** y"),
        (&["x", "--password", "-abc def", "y"], "x --password *** y"),
        (&["x", "--github-token", "abc"], "x --github-token ***"),
        (
            &["env", "NPM_TOKEN=abc", "AWS_SECRET_ACCESS_KEY=a b", "A=b"],
            "env NPM_TOKEN=*** AWS_SECRET_ACCESS_KEY=*** A=b",
        ),
        (&["curl", "-H", "Authorization: Bearer abc", "-X", "POST"], "curl -H Authorization:*** -X POST"),
        (&["echo", "Authorization:", "Bearer", "abc", "x"], "echo Authorization: Bearer *** x"),
        (&["curl", "-d", r#"{"user":"u","password":"abc,def"}"#], r#"curl -d {"user":"u","password":***"#),
        (&["curl", "https://example.com/?a=1&api_key=abc&b=2"], "curl https://example.com/?a=1&api_key=***&b=2"),
        (&["curl", "https://user:abc@example.com/x"], "curl https://***@example.com/x"),
        (&["curl", "https://user:a/b@example.com/x"], "curl https://***@example.com/x"),
        (&["git", "clone", "https://abc@example.com/x.git"], "git clone https://***@example.com/x.git"),
        (&["psql", "postgres://u:abc@db.example.com:5432/x"], "psql postgres://***@db.example.com:5432/x"),
        (&["mysql", "-uroot", "-pabc", "-h", "db"], "mysql -uroot -p*** -h db"),
        (&["/usr/bin/mysqldump", "-p", "abc"], "/usr/bin/mysqldump -p ***"),
        (&["curl", "-u", "user:abc", "x"], "curl -u *** x"),
        (&["curl", "--user", "user:abc", "--user-agent", "x"], "curl --user *** --user-agent x"),
        (&["redis-cli", "-a", "abc"], "redis-cli -a ***"),
        (
            &["npm", "config", "set", "//registry.example.com/:_authToken", "abc"],
            "npm config set //registry.example.com/:_authToken ***",
        ),
        (
            &["npm", "config", "set", "//registry.example.com/:_authToken=abc"],
            "npm config set //registry.example.com/:_authToken=***",
        ),
        (&["openssl", "-passin", "pass:abc"], "openssl -passin ***"),
        (&["sshpass", "-pabc", "ssh", "h"], "sshpass -p*** ssh h"),
    ] {
        assert_eq!(line(arguments), shown);
    }
}

#[test]
fn secrets_within_a_script_are_masked_and_the_rest_is_not() {
    for (script, shown) in [
        ("TOKEN=abc curl x", "'TOKEN=***'"),
        ("cd x; TOKEN=abc curl x", "'cd x; TOKEN=*** curl x'"),
        ("export PASSWORD='a b c' && run", "'export PASSWORD=*** && run'"),
        (
            "curl -H 'Authorization: Bearer abc' https://u:p@example.com",
            "'curl -H 'Authorization:***' https://***@example.com'",
        ),
        ("bash -c 'mysql -pabc -e \"x\"'", "'bash -c 'mysql -p*** -e \"x\"''"),
        ("curl --token abc; true", "'curl --token *** true'"),
        ("node a.js --password \"abc def\" tail", "'node a.js --password *** tail'"),
    ] {
        assert_eq!(line(&["sh", "-c", script]), format!("sh -c {shown}").replace("'TOKEN=***'", "TOKEN=***"));
    }
}

#[test]
fn what_looks_like_nothing_but_a_key_is_masked() {
    for key in [
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "glpat-aaaaaaaaaaaaaaaaaaaa",
        "xoxb-0000000000-aaaaaaaaaa",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl-x_y",
        "d41d8cd98f00b204e9800998ecf8427e",
        "3f9Kd82LmQ0xZr5TbW7cYv1N",
    ] {
        assert_eq!(line(&["x", key, "y"]), "x *** y");
        assert_eq!(line(&["x", &format!("a={key}")]), "x a=***".replace("a=***", &shown_behind_a_name(key)));
        if !key.contains('/') {
            assert_eq!(line(&["x", &format!("/{key}.tgz")]).matches(key).count(), 0, "{key}");
        }
    }
}

/// Of keys that only chance gives away, the word goes as a whole.
fn shown_behind_a_name(key: &str) -> String {
    let by_name = ["AKIA", "ghp_", "glpat-", "xoxb-", "eyJ"].iter().any(|start| key.starts_with(start));
    if by_name { "a=***".to_owned() } else { "***".to_owned() }
}

#[test]
fn what_a_terminal_would_obey_is_escaped_and_what_is_no_text_is_shown_as_octets() {
    assert_eq!(command_line(b"a\x1b[31m\0\xff\xfeb\0c\nd\0", false), r"a\u{1b}[31m \xff\xfeb c\nd");
    assert_eq!(plain("node\u{202e}x\r".as_bytes()), r"node\u{202e}x\r");
    assert_eq!(line(&["x", "--password\nabc"]), "x '***'".replace("'***'", &line(&["--password\nabc"])));
    assert!(!line(&["x", "--password\nabc"]).contains("abc"));
}

#[test]
fn a_command_line_is_bounded_and_a_secret_is_not_shown_in_part() {
    let long = "x ".repeat(4000);
    assert_eq!(line(&["a", &"b".repeat(500)]).chars().count(), 2 + LONGEST_ARGUMENT);
    assert!(line(&[long.as_str(); 9]).chars().count() <= LONGEST);
    assert_eq!(command_line(b"x\0y\0ghp_16C7e42F2", true), "x y ''");
    assert_eq!(command_line(b"x y ghp_16C7e42F2", true), "x y");
}

const SECRET_KEYS: [&str; 12] = [
    "password",
    "--password",
    "API_KEY",
    "--api-key",
    "github_token",
    "--auth-token",
    "client_secret",
    "PGPASSWORD",
    "Authorization",
    "--db-pass",
    "Cookie",
    "AWS_SESSION_TOKEN",
];

proptest! {
    #[test]
    fn no_octets_are_too_odd(octets in proptest::collection::vec(any::<u8>(), 0..400), cut: bool) {
        let shown = command_line(&octets, cut);
        prop_assert!(shown.chars().count() <= LONGEST);
        prop_assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn no_words_are_too_odd(text in "[-a-z=:@/'\"` .&_A-Z0-9]{0,80}", other in "[-a-z=:@/'\"` é☃]{0,40}") {
        let shown = line(&["sh", "-c", &text, &other]);
        prop_assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn the_value_of_a_secret_key_is_never_shown(
        key in proptest::sample::select(&SECRET_KEYS[..]),
        value in "q[-A-Za-z0-9!#$%^*+,./:;<>?@_~]{5,30}",
        before in "[a-z]{1,5}( [a-z]{1,5}){0,2}",
        sign in "=|: ?",
        in_script: bool,
    ) {
        let pair = format!("{key}{sign}{value}");
        let shown = if in_script { line(&["sh", "-c", &format!("{before} {pair} tail")]) } else { line(&[&before, &pair, "tail"]) };
        prop_assert!(!shown.contains(&value), "{}", shown);
        prop_assert!(!shown.contains(&value[..6]), "{}", shown);
    }

    #[test]
    fn the_word_after_a_secret_option_is_never_shown(
        key in "--(token|password|api-key|client-secret|private_key)",
        value in "q[ -~]{5,30}",
    ) {
        let shown = line(&["tool", &key, &value, "tail"]);
        prop_assert!(!shown.contains(&value[..6]), "{}", shown);
        prop_assert!(shown.ends_with(" tail"), "{}", shown);
    }
}
