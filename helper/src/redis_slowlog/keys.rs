//! Where a command's first key is. Pure.
//!
//! The server could be asked (`COMMAND GETKEYS`), but it cuts long commands before it logs them, and then knows no better.

/// The first key, for commands that have one where it can be told.
pub(super) fn first(words: &[String]) -> Option<&str> {
    let name = words.first()?.to_ascii_uppercase();
    let at = match name.as_str() {
        // The text or the hash of a script, or a timeout; the number of keys; the keys.
        "EVAL" | "EVALSHA" | "EVAL_RO" | "EVALSHA_RO" | "FCALL" | "FCALL_RO" | "BLMPOP"
        | "BZMPOP" => counted(words, 2)?,
        // A number of keys first.
        "ZUNION" | "ZINTER" | "ZDIFF" | "SUNIONCARD" | "SINTERCARD" | "ZINTERCARD" | "LMPOP"
        | "MSETEX" | "ZMPOP" => counted(words, 1)?,
        // A subcommand first.
        "OBJECT" | "MEMORY" | "XINFO" | "XGROUP" | "BITOP" => 2,
        "XREAD" | "XREADGROUP" => {
            words
                .iter()
                .position(|word| word.eq_ignore_ascii_case("STREAMS"))?
                + 1
        }
        "MIGRATE" => 3,
        // None, or not in the first place: what stands there may be anything.
        "ACL" | "AUTH" | "BGREWRITEAOF" | "BGSAVE" | "CLIENT" | "CLUSTER" | "COMMAND"
        | "COMMANDLOG" | "CONFIG" | "DBSIZE" | "DEBUG" | "DISCARD" | "ECHO" | "EXEC"
        | "FAILOVER" | "FLUSHALL" | "FLUSHDB" | "FUNCTION" | "HELLO" | "INFO" | "KEYS"
        | "LASTSAVE" | "LATENCY" | "LOLWUT" | "MODULE" | "MONITOR" | "MULTI" | "PING"
        | "PSUBSCRIBE" | "PSYNC" | "PUBLISH" | "PUBSUB" | "PUNSUBSCRIBE" | "RANDOMKEY"
        | "REPLCONF" | "REPLICAOF" | "ROLE" | "SAVE" | "SCAN" | "SCRIPT" | "SELECT"
        | "SHUTDOWN" | "SLAVEOF" | "SLOWLOG" | "SPUBLISH" | "SSUBSCRIBE" | "SUBSCRIBE"
        | "SWAPDB" | "SYNC" | "TIME" | "UNSUBSCRIBE" | "WAIT" | "WAITAOF" => return None,
        _ => 1,
    };
    words.get(at).map(String::as_str)
}

/// The place after the number of keys at `at`, if that is above zero.
fn counted(words: &[String], at: usize) -> Option<usize> {
    let keys: u32 = words.get(at)?.parse().ok()?;
    (keys > 0).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_where_commands_have_them() {
        let cases = [
            ("GET user:1", Some("user:1")),
            ("eval return_1 1 user:1 arg", Some("user:1")),
            ("EVAL return_1 0 secret", None),
            ("FCALL f 2 a b", Some("a")),
            ("XREADGROUP GROUP g c COUNT 1 STREAMS jobs >", Some("jobs")),
            ("BITOP AND out a b", Some("out")),
            ("ZUNION 2 a b", Some("a")),
            ("BLMPOP 0 1 list LEFT", Some("list")),
            ("DEBUG SLEEP 1", None),
            ("KEYS *", None),
            ("AUTH secret", None),
            ("PING", None),
            ("GET", None),
            ("", None),
        ];
        for (command, key) in cases {
            let words: Vec<_> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(first(&words), key, "{command}");
        }
    }
}
