//! temp
#[test]
fn sqlite_x() {}
