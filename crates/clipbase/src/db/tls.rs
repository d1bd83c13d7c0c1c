//! TLS towards the database and the storage, by rustls with ring: webpki's roots and the caller's own authority.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore,
    SignatureScheme, WantsVerifier,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::config::{DatabaseConfig, Verify};
use crate::error::{Cause, Code, Error, Result};

/// Makes a client's settings that demand a certificate from a known authority which names the host.
///
/// # Errors
/// `CONFIG_INVALID` when the root certificate cannot be read.
pub(crate) fn client_config(root_certificate: Option<&Path>) -> Result<ClientConfig> {
    let roots = roots(root_certificate)?;
    let builder = builder(Arc::new(ring::default_provider()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn builder(provider: Arc<CryptoProvider>) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::failed(Code::ConfigInvalid, "TLS could not be set up"))
}

/// Makes the connector for a configuration.
///
/// # Errors
/// `CONFIG_INVALID` when the root certificate cannot be read.
pub(super) fn connector(config: &DatabaseConfig) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(ring::default_provider());
    let builder = builder(provider.clone())?;
    let roots = Arc::new(roots(config.root_certificate.as_deref())?);
    let client = match config.verify {
        Verify::Full => builder.with_root_certificates(roots).with_no_client_auth(),
        Verify::Chain | Verify::Nothing => {
            let chain = if config.verify == Verify::Chain {
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone());
                Some(
                    verifier
                        .build()
                        .map_err(|_| root_error(Cause::new("tls roots")))?,
                )
            } else {
                None
            };
            let verifier = Arc::new(Lenient { provider, chain });
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth()
        }
    };
    Ok(MakeRustlsConnect::new(client))
}

fn root_error(cause: Cause) -> Error {
    Error::caused(
        Code::ConfigInvalid,
        "the root certificate cannot be read; give a PEM file with at least one certificate",
        cause,
    )
}

fn roots(file: Option<&Path>) -> Result<RootCertStore> {
    let mut store = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(file) = file {
        let pem = std::fs::read(file).map_err(|error| root_error(Cause::io(&error)))?;
        let before = store.len();
        for certificate in rustls_pemfile::certs(&mut pem.as_slice()) {
            let certificate = certificate.map_err(|error| root_error(Cause::io(&error)))?;
            store
                .add(certificate)
                .map_err(|_| root_error(Cause::new("tls certificate")))?;
        }
        if store.len() == before {
            return Err(root_error(Cause::new("no certificate in the file")));
        }
    }
    Ok(store)
}

/// What `sslmode=require` (nothing) and `verify-ca` (the chain, not the name) ask for.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let verdict =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
