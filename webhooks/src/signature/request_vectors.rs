//! The protocol's vectors of signed requests. Those without a signature are the front door's: it says what it demands of whom.

use super::{
    ContentDigest, Profile, Received, ReplayGuard, VerifyError,
    vectors::{self, Vector},
    verify::verify_as,
};

const KIND: &str = "request-signing";
// What is not signed at all.
const UNSIGNED: [&str; 3] = ["001-no-signature-header.json", "027-", "028-"];

fn profile(vector: &Vector) -> Profile {
    if vector.json["signing_profile_version"] == "3.2" {
        assert_eq!(vector.json["verifier_capability"]["covers_content_digest"], "required", "{}", vector.name);
        return Profile::REQUESTS;
    }
    Profile::requests_before_3_2(match vector.json["verifier_capability"]["covers_content_digest"].as_str() {
        Some("required") => ContentDigest::Required,
        Some("forbidden") => ContentDigest::Forbidden,
        Some("either") => ContentDigest::Either,
        other => panic!("{}: {other:?}", vector.name),
    })
}

fn outcome(vector: &Vector) -> Result<String, VerifyError> {
    let mut guard = ReplayGuard::with_limit(3);
    let state = &vector.json["test_harness_state"];
    for entry in state["replay_cache_entries"].as_array().into_iter().flatten() {
        guard.remember(entry["keyid"].as_str().unwrap(), entry["nonce"].as_str().unwrap(), i64::MAX);
    }
    for kid in state["revocation_list"]["revoked_kids"].as_array().into_iter().flatten() {
        guard.revoke(kid.as_str().unwrap());
    }
    if let Some(kid) = state["replay_cache_per_keyid_cap_hit"]["keyid"].as_str() {
        (0..3).for_each(|number| guard.remember(kid, &format!("filler {number}"), i64::MAX));
    }
    let headers = vector.headers();
    let method = vector.json["request"]["method"].as_str().unwrap();
    let received = Received { method, url: vector.url(), headers: &headers, body: vector.body() };
    verify_as(&profile(vector), &received, &vector.keys(KIND), &mut guard, vector.now())
}

fn all(directory: &str) -> Vec<Vector> {
    vectors::all(&format!("{KIND}/{directory}"))
}

#[test]
fn every_positive_vector_is_accepted() {
    for (directory, number) in [("positive", 15), ("profile-3.2/positive", 14)] {
        let vectors = all(directory);
        assert_eq!(vectors.len(), number, "{directory}");
        for vector in &vectors {
            assert_eq!(outcome(vector), Ok(vector.jwks_ref()[0].clone()), "{directory}/{}", vector.name);
        }
    }
}

#[test]
fn every_negative_vector_is_refused_for_its_own_reason() {
    for (directory, number) in [("negative", 31), ("profile-3.2/negative", 32)] {
        let vectors = all(directory);
        assert_eq!(vectors.len(), number, "{directory}");
        for vector in &vectors {
            let expected = &vector.json["expected_outcome"]["error_code"];
            if UNSIGNED.iter().any(|name| vector.name.starts_with(name)) {
                assert_eq!(expected, "request_signature_required", "{}", vector.name);
                assert!(vector.headers().iter().all(|(name, _)| !name.starts_with("Signature")), "{}", vector.name);
                continue;
            }
            let refused = outcome(vector).expect_err(&vector.name);
            assert_eq!(refused.code(&profile(vector)), *expected, "{directory}/{}", vector.name);
        }
    }
}

/// What the matrix says of signatures; what it says of other credentials is the front door's.
#[test]
fn a_body_is_covered_as_the_endpoint_says_whatever_the_body_says() {
    let vectors = all("positive");
    let uncovered = vectors.iter().find(|vector| vector.name.starts_with("001")).unwrap();
    let covered = vectors.iter().find(|vector| vector.name.starts_with("002")).unwrap();
    let of = |vector: &Vector, profile: &Profile, body: &[u8]| {
        let headers = vector.headers();
        let received = Received { method: "POST", url: vector.url(), headers: &headers, body };
        verify_as(profile, &received, &vector.keys(KIND), &mut ReplayGuard::default(), vector.now()).err()
    };
    let before = |digest| Profile::requests_before_3_2(digest);
    let matrix = vectors::read("request-signing/body-integrity-policy.json");
    let cases = matrix["cases"].as_array().unwrap();
    let mut seen = 0;
    for case in cases.iter().filter(|case| case["signature_present"] == true && case["has_body"] == true) {
        let mode = case["mode"].as_str().unwrap();
        // Shadow verification is not offered.
        if mode.contains("warn_for") {
            continue;
        }
        let (vector, profile) = match (&case["endpoint_profile"], case["covers_content_digest"] == true) {
            (version, false) if version == "3.2" => (uncovered, before(ContentDigest::Required)),
            (_, false) => (uncovered, before(ContentDigest::Either)),
            (_, true) => (covered, before(ContentDigest::Required)),
        };
        let other_body = case["digest_matches_body"] == false;
        let mut vector = Vector { name: vector.name.clone(), json: vector.json.clone() };
        if case["cryptographic_signature_valid"] == false {
            vector.json["request"]["url"] = "https://seller.example.com/adcp/other".into();
        }
        let body = if other_body { b"{}".as_slice() } else { vector.body() };
        let refused = of(&vector, &profile, body).map(|error| error.code(&profile));
        assert_eq!(refused.as_deref(), case["expected"]["error_code"].as_str(), "{}", case["id"]);
        seen += 1;
    }
    assert_eq!(seen, 9, "of {}", cases.len());
}
