//! `waystation passwd`: a password in, its hash out.

use super::secret_input::secret;
use super::{BAD_DATA, Done, Failure, OUR_BUG, print};
use crate::intake::credentials;
use crate::smtp::sasl::MAX_NAME;

/// Asks twice on a terminal, without echo; else takes the first line of standard input.
pub(super) fn run() -> Done {
    let password = match secret("passwd", &["Password: ", "Again: "])?.as_slice() {
        [first, second] if first != second => {
            return Err(Failure::new(BAD_DATA, "waystation passwd: the two don't match; nothing was made"));
        }
        [first, ..] => first.clone(),
        [] => String::new(),
    };
    if password.is_empty() {
        return Err(Failure::new(
            BAD_DATA,
            "waystation passwd: the password is empty; type one, or pipe it in",
        ));
    }
    if password.contains('\0') {
        let text = "waystation passwd: a NUL can't be part of a password (RFC 4616 §2); nothing was made";
        return Err(Failure::new(BAD_DATA, text));
    }
    if password.len() > MAX_NAME {
        let text = format!(
            "waystation passwd: the password has {} octets, and logins take {MAX_NAME} at most; nothing was made",
            password.len()
        );
        return Err(Failure::new(BAD_DATA, text));
    }
    let hash = credentials::hash_password(&password)
        .map_err(|cause| Failure::new(OUR_BUG, format!("waystation passwd: {cause}")))?;
    print(&format!("{hash}\n"));
    Ok(())
}
