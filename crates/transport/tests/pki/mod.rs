//! A certificate authority for one test.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
    date_time_ymd,
};

pub struct Ca {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Identity {
    pub pem: String,
    pub key: String,
}

/// Where in time a certificate is valid.
#[derive(Clone, Copy)]
pub enum When {
    Past,
    Now,
    Future,
}

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Ca { pem, issuer: Issuer::new(params, key) }
    }

    /// For these names: `spiffe:…` is a URI, digits are an IP address.
    pub fn issue(&self, names: &[&str], when: When, purpose: ExtendedKeyUsagePurpose) -> Identity {
        let (uris, names): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.starts_with("spiffe:"));
        let names: Vec<String> = names.into_iter().map(ToOwned::to_owned).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        params.extended_key_usages = vec![purpose];
        (params.not_before, params.not_after) = match when {
            When::Past => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
            When::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2200, 1, 1)),
            When::Future => (date_time_ymd(2199, 1, 1), date_time_ymd(2200, 1, 1)),
        };
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { pem, key: key.serialize_pem() }
    }

    pub fn server(&self, names: &[&str]) -> Identity {
        self.issue(names, When::Now, ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn client(&self, names: &[&str]) -> Identity {
        self.issue(names, When::Now, ExtendedKeyUsagePurpose::ClientAuth)
    }
}
