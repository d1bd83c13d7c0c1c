//! Migrations that have landed stay as they are: a database that has one refuses another form of it.

use clipbase::migrate;

/// The SHA-256 of every file. A new migration adds a line; no line ever changes.
const LANDED: &[(&str, &str)] = &[
    (
        "20261123000100_seed_tables",
        "134ea619744135758190a959063082762d9d96cf287bb6fa97bc93bcc84e6d03",
    ),
    (
        "20261123000200_jobs_columns",
        "6d2818422fb3693156c3fb923d493aa2db8f798d0656ff5306916eb2af8ab160",
    ),
    (
        "20261123000300_jobs_constraints",
        "93af18456e605e27c778d3c09dbdfe0bb88f6fa50e511021944c1553cffa672f",
    ),
    (
        "20261123000400_jobs_indexes",
        "6646a7722119cd0bce407a5a969dd6d5bedf88faba3d70418e1894d204c1a866",
    ),
    (
        "20261123000500_job_events_sequence",
        "9d0efda09a0d74c8b53e1c1e7203eecdf2cea2731d34d0b04ba40a1897707a27",
    ),
    (
        "20261123000600_outbox",
        "7bbf99d7092f865f66e222b6d94850db4da7f9550fc854f0d6e23897a76a5554",
    ),
    (
        "20261123000700_job_triggers",
        "1049f539be31bd8dfbd779e9ac3cf1505c02bc1276ada0cf497481f01866989d",
    ),
    (
        "20261123000800_event_triggers",
        "bcafe4b425df7327aa73ab74977515199918732b4001f1e1349e3e63faf5c87b",
    ),
    (
        "20261123000900_access",
        "140db3d3564cc57dac0f109cfcbc0df51caa13fa9bb219f9807731c96a4389a9",
    ),
    (
        "20261123001000_outbox_by_bucket",
        "cf2258e50aa2ed9ed5ee93c85facbb7af028b115437ee435f24bf64e77c9b11b",
    ),
    (
        "20261123001100_source_expiry",
        "6dbcdbbdd7d137988ba55e7c51c29668e1b5c75f5a48523818adc9cb910a412e",
    ),
    (
        "20261123001500_reconciliation_turn",
        "2996041cc8fcc2f3f1315896f1f687906bcfa1d59fecc673799f726ec205873c",
    ),
    (
        "20261123001600_finished_index",
        "19ace9134789b431c61c6aed8e42ba130dcef8d479343a5ae522c50ed6c839a4",
    ),
    (
        "20261123002000_api_keys",
        "4e7f1bf19ae77b15f42eeaca46576bef4283c44ab6cfe044eee3bf8ef0793b1e",
    ),
    (
        "20261124000100_roles",
        "fbc807026ec1d329a3698de0ad858c277d0335d0f7c0437badabbac0ddb7b456",
    ),
    (
        "20261124000200_roles_api_keys",
        "7f13d4bf80d741ad875003c1c8fd7bc43d81e7f4f99c065f140257489ea73520",
    ),
];

#[test]
fn no_landed_migration_is_edited_removed_or_left_out_here() {
    let found: Vec<(String, String)> = migrate::all()
        .iter()
        .map(|file| (format!("{}_{}", file.version, file.name), file.checksum()))
        .collect();
    let pinned: Vec<(String, String)> = LANDED
        .iter()
        .map(|(name, checksum)| ((*name).to_owned(), (*checksum).to_owned()))
        .collect();
    assert_eq!(found, pinned);
}
