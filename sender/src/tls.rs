//! Whom to trust, and the TLS configuration of both protocols.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::sender::StartError;

/// Where Debian, Red Hat, and Alpine or BSD keep the system's certificates.
const SYSTEM: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// The TLS configuration that everything starts from.
pub(crate) struct Trust {
    config: ClientConfig,
}

impl Trust {
    /// Reads `file`, or else the system's store, or else takes Mozilla's list.
    pub fn load(file: Option<&Path>) -> Result<Self, StartError> {
        let roots = match file {
            Some(path) => read(path)
                .map_err(|reason| StartError::Certificates { path: path.to_owned(), reason })?,
            None => system(),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| StartError::Tls(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config })
    }

    /// For HTTP, which negotiates its version inside TLS.
    pub fn http(&self) -> ClientConfig {
        let mut config = self.config.clone();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config
    }

    /// For mail.
    pub fn smtp(&self) -> Arc<ClientConfig> {
        Arc::new(self.config.clone())
    }
}

fn system() -> RootCertStore {
    SYSTEM
        .iter()
        .map(PathBuf::from)
        // A store that is missing or broken is not an error as long as there is another one.
        .find_map(|path| read(&path).ok())
        .unwrap_or_else(|| webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect())
}

/// All certificates of a PEM file; those that the library cannot use are left out, as every
/// system's store holds some.
fn read(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let certificates =
        certificates.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err("it holds no usable certificate".to_owned());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_an_error_that_names_it() {
        let error = Trust::load(Some(Path::new("/dev/null"))).err().unwrap();
        assert_eq!(
            error.to_string(),
            "could not read certificates from \"/dev/null\": it holds no usable certificate"
        );
        assert!(Trust::load(Some(Path::new("/nowhere/ca.pem"))).is_err());
    }

    #[test]
    fn there_are_always_roots() {
        assert!(!system().is_empty());
    }
}
