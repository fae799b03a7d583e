//! The soak as its user meets it: a command line, a balance sheet, an exit code.

#![allow(clippy::unwrap_used)]

use towpath_examples::soak::run;

fn soak(args: &[&str]) -> (u8, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(["soak"].iter().chain(args), &mut out, &mut err);
    (code, String::from_utf8([out, err].concat()).unwrap())
}

#[test]
fn the_books_balance_on_either_runtime() {
    for runtime in [[].as_slice(), &["--current-thread"]] {
        let (code, text) = soak(&[["--seconds", "2", "--seed", "7"].as_slice(), runtime].concat());
        assert_eq!(code, 0, "{text}");
        assert!(text.ends_with("the books balance\n"), "{text}");
    }
}

#[test]
fn a_command_line_that_is_none() {
    assert_eq!(soak(&["--help"]).0, 0);
    let (code, text) = soak(&["--seconds", "soon"]);
    assert!(code == 2 && text.contains("--seconds"), "{code} {text}");
    assert_eq!(soak(&["--seconds", "5", "--minutes", "5"]).0, 2);
}
