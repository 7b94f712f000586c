//! What the `pgp` crate writes passes, in every shape: Delta Chat uses it.

use chatmail_core::filter::{Class, Direction, Verdict};
use pgp::composed::{
    ArmorOptions, EncryptionCaps, KeyType, MessageBuilder, SecretKeyParamsBuilder, SignedPublicKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::aead::{AeadAlgorithm, ChunkSize};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::{KeyVersion, Password, StringToKey};
use rand::rngs::OsRng;
use rand::{Rng, RngCore};

mod common;

use common::{assert_encrypted, delta_chat};

fn key(version: KeyVersion, sign: KeyType, encrypt: KeyType) -> SignedPublicKey {
    let subkey = SubkeyParamsBuilder::default()
        .version(version)
        .key_type(encrypt)
        .can_encrypt(EncryptionCaps::All)
        .build()
        .expect("subkey");
    SecretKeyParamsBuilder::default()
        .version(version)
        .key_type(sign)
        .can_certify(true)
        .can_sign(true)
        .primary_user_id("bob <bob@chat.test>".into())
        .subkey(subkey)
        .build()
        .expect("parameters")
        .generate(OsRng)
        .expect("key")
        .to_public_key()
}

fn keys() -> Vec<SignedPublicKey> {
    vec![
        key(
            KeyVersion::V4,
            KeyType::Ed25519Legacy,
            KeyType::ECDH(ECCCurve::Curve25519Legacy),
        ),
        key(
            KeyVersion::V4,
            KeyType::Ed25519Legacy,
            KeyType::ECDH(ECCCurve::P256),
        ),
        key(KeyVersion::V4, KeyType::Ed25519, KeyType::X25519),
        key(KeyVersion::V6, KeyType::Ed25519, KeyType::X25519),
        key(KeyVersion::V6, KeyType::Ed448, KeyType::X448),
    ]
}

fn noise(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

#[test]
fn messages_to_known_and_anonymous_keys_pass_in_both_versions() {
    let keys = keys();
    for size in [0, 10, 700, 5_000, 100_000] {
        for partial in [512, 4096, 512 * 1024] {
            for anonymous in [false, true] {
                let build = || MessageBuilder::from_bytes("", noise(size));
                let mut v1 = build().seipd_v1(OsRng, SymmetricKeyAlgorithm::AES256);
                let mut v2 = build().seipd_v2(
                    OsRng,
                    SymmetricKeyAlgorithm::AES256,
                    AeadAlgorithm::Ocb,
                    ChunkSize::C8KiB,
                );
                v1.partial_chunk_size(partial).expect("size");
                v2.partial_chunk_size(partial).expect("size");
                for key in &keys {
                    let key = &key.public_subkeys[0];
                    if anonymous {
                        // RFC 9580 keeps version 6 keys out of version 1 messages.
                        v1.encrypt_to_key_anonymous(OsRng, key).ok();
                        v2.encrypt_to_key_anonymous(OsRng, key).expect("v2");
                    } else {
                        v1.encrypt_to_key(OsRng, key).ok();
                        v2.encrypt_to_key(OsRng, key).expect("v2");
                    }
                }
                // With a CRC24 line and without.
                let options = || ArmorOptions {
                    include_checksum: anonymous,
                    ..ArmorOptions::default()
                };
                let armor = v1.to_armored_string(OsRng, options()).expect("v1");
                assert_encrypted(&delta_chat(&armor));
                let armor = v2.to_armored_string(OsRng, options()).expect("v2");
                assert_encrypted(&delta_chat(&armor));
            }
        }
    }
}

#[test]
fn messages_to_a_passphrase_alone_pass_in_both_versions() {
    let password = Password::from("a secret of a broadcast channel");
    for size in [0, 700, 100_000] {
        let s2k = || {
            let mut salt = [0; 8];
            OsRng.fill(&mut salt);
            StringToKey::Salted {
                hash_alg: HashAlgorithm::Sha256,
                salt,
            }
        };
        let iterated = StringToKey::new_iterated(OsRng, HashAlgorithm::Sha256, 224);
        let argon2 = StringToKey::new_argon2(OsRng, 1, 1, 10);
        let mut v1 = MessageBuilder::from_bytes("", noise(size))
            .seipd_v1(OsRng, SymmetricKeyAlgorithm::AES128);
        v1.encrypt_with_password(s2k(), &password).expect("v1");
        v1.encrypt_with_password(iterated.clone(), &password)
            .expect("v1");
        let armor = v1.to_armored_string(OsRng, Default::default()).expect("v1");
        assert_encrypted(&delta_chat(&armor));
        for aead in [AeadAlgorithm::Ocb, AeadAlgorithm::Eax, AeadAlgorithm::Gcm] {
            let mut v2 = MessageBuilder::from_bytes("", noise(size)).seipd_v2(
                OsRng,
                SymmetricKeyAlgorithm::AES128,
                aead,
                ChunkSize::C64B,
            );
            for s2k in [s2k(), iterated.clone(), argon2.clone()] {
                v2.encrypt_with_password(OsRng, s2k, &password).expect("v2");
            }
            let armor = v2.to_armored_string(OsRng, Default::default()).expect("v2");
            assert_encrypted(&delta_chat(&armor));
        }
    }
}

#[test]
fn messages_in_base64_pass_incoming_with_lines_of_every_length() {
    let key = &keys()[0].public_subkeys[0];
    let armor = |size| {
        let mut message = MessageBuilder::from_bytes("", noise(size))
            .seipd_v1(OsRng, SymmetricKeyAlgorithm::AES256);
        message.encrypt_to_key(OsRng, key).expect("v1");
        message
            .to_armored_string(OsRng, ArmorOptions::default())
            .expect("v1")
    };
    for width in 1..=998 {
        // Each size of the last quantum, and each line end inside.
        let text = armor(700 + width % 3).replace("\r\n", "\n");
        let text = match width % 2 {
            0 => text.replace('\n', "\r\n"),
            _ => text,
        };
        let message = in_base64(&text, width);
        let verdict = common::verdict(Direction::Incoming, &message);
        let Verdict::Accepted(accepted) = &verdict else {
            panic!("{width}: {verdict:?}");
        };
        assert_eq!(accepted.class, Class::Encrypted);
        let cuts: Vec<usize> = (1..message.len()).step_by(1 + width % 97).collect();
        let cut = common::verdict_cut(Direction::Incoming, "bob@chat.test", &message, &cuts);
        assert_eq!(cut, verdict, "{width}");
        let refusal = common::refusal(Direction::Outgoing, &message);
        assert_eq!(refusal.reason.name(), "transfer-encoding");
    }
}

/// A message whose second part is this text in base64, in lines of this length.
fn in_base64(text: &str, width: usize) -> Vec<u8> {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(text);
    let lines = encoded.as_bytes().chunks(width);
    let lines: String = lines
        .map(|line| format!("{}\r\n", String::from_utf8_lossy(line)))
        .collect();
    let message = String::from_utf8(delta_chat("ARMOR")).expect("ascii");
    let (head, tail) = message.split_once("ARMOR").expect("there");
    let (head, _) = head.rsplit_once("7bit").expect("there");
    format!("{head}base64\r\n\r\n{lines}{tail}").into_bytes()
}

#[test]
fn signed_and_literal_messages_are_not_encrypted() {
    let literal = MessageBuilder::from_bytes("", noise(1000))
        .to_armored_string(OsRng, Default::default())
        .expect("literal");
    for direction in [Direction::Outgoing, Direction::Incoming] {
        let refusal = common::refusal(direction, &delta_chat(&literal));
        assert_eq!(refusal.reason.name(), "packet");
    }
}
