//! With the client's side of another library, over pipes that take little, and with clients that break the rules.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsConnector, client};

use super::*;

type Version = &'static SupportedProtocolVersion;

/// A record that says it is encrypted, and is not.
const NOT_ENCRYPTED: &[u8] = &[23, 3, 3, 0, 20, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A server, and its certificate.
fn config(version: Version) -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_string()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der());
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let chain = vec![pair.cert.der().clone()];
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key.into()).unwrap();
    config.alpn_protocols = vec![b"one".to_vec()];
    (Arc::new(config), pair.cert.der().clone())
}

/// The handshakes of two that trust each other, if they find a version in common, over a pipe that takes so many
/// bytes at a time.
fn connect(
    server: Version,
    client: Version,
    pipe: usize,
) -> (
    impl Future<Output = io::Result<TlsStream<DuplexStream>>>,
    impl Future<Output = io::Result<client::TlsStream<DuplexStream>>>,
) {
    let (config, certificate) = config(server);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[client]).unwrap();
    let mut asking = builder.with_root_certificates(roots).with_no_client_auth();
    asking.alpn_protocols = vec![b"one".to_vec()];
    let (near, far) = duplex(pipe);
    let connecting = TlsConnector::from(Arc::new(asking)).connect(ServerName::try_from("localhost").unwrap(), far);
    (TlsStream::accept(config, near), connecting)
}

/// Two that are connected by such a pipe, with TLS 1.3.
async fn connected(pipe: usize) -> (TlsStream<DuplexStream>, client::TlsStream<DuplexStream>) {
    let (server, client) = connect(&TLS13, &TLS13, pipe);
    tokio::try_join!(server, client).unwrap()
}

fn assert_holds_nothing(stream: &TlsStream<DuplexStream>) {
    let held = [&stream.incoming, &stream.plain, &stream.outgoing.bytes].map(|bytes| bytes.capacity());
    assert_eq!(held, [0; 3], "held: incoming, plain, outgoing");
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// Messages of these lengths go to the server and come back; `buffer` is how much either side reads at a time.
async fn check(version: Version, pipe: usize, buffer: usize, messages: &[usize]) {
    let (accepting, connecting) = connect(version, version, pipe);
    let echoing = async {
        let mut server = accepting.await.unwrap();
        assert_eq!(server.session().alpn_protocol(), Some(&b"one"[..]));
        let mut bytes = vec![0; buffer];
        loop {
            match server.read(&mut bytes).await.unwrap() {
                0 => break,
                read => server.write_all(&bytes[..read]).await.unwrap(),
            }
            server.flush().await.unwrap();
        }
        server.flush().await.unwrap();
        assert_holds_nothing(&server);
        server.shutdown().await.unwrap();
        assert!(server.write_all(b"more").await.is_err(), "after the end");
    };
    let asking = async {
        let (mut reading, mut writing) = tokio::io::split(connecting.await.unwrap());
        let sending = async {
            for length in messages {
                writing.write_all(&pattern(*length)).await.unwrap();
                writing.flush().await.unwrap();
            }
            writing.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        // To the end, which has to be a proper one.
        tokio::join!(sending, async { reading.read_to_end(&mut heard).await.unwrap() });
        heard
    };
    let ((), heard) = tokio::join!(echoing, asking);
    let sent: Vec<u8> = messages.iter().flat_map(|length| pattern(*length)).collect();
    assert!(heard == sent, "{version:?} {pipe} {buffer} {messages:?}: other bytes came back");
}

#[tokio::test]
async fn what_is_written_is_read() {
    for version in [&TLS12, &TLS13] {
        check(version, 1 << 20, 8 << 10, &[]).await;
        check(version, 1 << 20, 8 << 10, &[1]).await;
        check(version, 1 << 20, 8 << 10, &[100, 200, 300]).await;
        // More than a record, than what is written at a time, and than the shared buffer.
        check(version, 1 << 20, 8 << 10, &[17 << 10, 70 << 10, 300 << 10]).await;
        check(version, 1 << 20, 1 << 20, &[17 << 10, 70 << 10, 300 << 10]).await;
        // A reader that takes little, and a pipe that takes little, down to parts of a record's header.
        check(version, 1 << 20, 10, &[17 << 10, 5]).await;
        check(version, 100, 8 << 10, &[40 << 10, 5, 40 << 10]).await;
        check(version, 1, 3, &[1000, 5]).await;
    }
}

#[tokio::test]
async fn the_client_may_change_its_keys() {
    let (mut server, mut client) = connected(1 << 20).await;
    let mut heard = [0; 4];
    for _ in 0..3 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        client.write_all(b"ping").await.unwrap();
        client.flush().await.unwrap();
        server.read_exact(&mut heard).await.unwrap();
        server.write_all(b"pong").await.unwrap();
        server.flush().await.unwrap();
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"pong");
    }
    assert_holds_nothing(&server);
}

#[tokio::test]
async fn who_has_nothing_in_common_is_told() {
    let (server, client) = connect(&TLS13, &TLS12, 1 << 20);
    let (server, client) = tokio::join!(server, client);
    assert_eq!(server.err().map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
    let told = client.err().unwrap().to_string();
    assert!(told.contains("ProtocolVersion"), "{told}");
}

/// What the server makes of a client that sends this in the middle of everything, and then is gone.
async fn check_broken(sends: &[u8], expected: io::ErrorKind) {
    let (mut server, client) = connected(1 << 20).await;
    let (mut raw, _) = client.into_inner();
    raw.write_all(sends).await.unwrap();
    drop(raw);
    let error = server.read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), expected, "{sends:?}: {error}");
}

#[tokio::test]
async fn what_is_not_tls_breaks_a_connection() {
    check_broken(b"GET / HTTP/1.1\r\n\r\n", io::ErrorKind::InvalidData).await;
    // A record that nobody has encrypted, and one that is cut.
    check_broken(NOT_ENCRYPTED, io::ErrorKind::InvalidData).await;
    check_broken(&[23, 3, 3, 0, 20, 0, 1], io::ErrorKind::UnexpectedEof).await;
    check_broken(&[], io::ErrorKind::UnexpectedEof).await;
}

#[tokio::test]
async fn a_broken_connection_can_still_be_ended() {
    let (mut server, client) = connected(1 << 20).await;
    let (mut raw, _) = client.into_inner();
    raw.write_all(NOT_ENCRYPTED).await.unwrap();
    for _ in 0..2 {
        assert_eq!(server.read(&mut [0; 10]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
    assert_eq!(server.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    server.shutdown().await.unwrap();
    let mut told = Vec::new();
    raw.read_to_end(&mut told).await.unwrap();
    assert_holds_nothing(&server);
}

/// What is made of a client that begins with this, and then is gone; it is told `alert`.
async fn check_beginning(sends: &[u8], expected: io::ErrorKind, alert: &[u8]) {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(sends).await.unwrap();
    far.shutdown().await.unwrap();
    let error = TlsStream::accept(config(&TLS13).0, near).await.err().unwrap();
    assert_eq!(error.kind(), expected, "{sends:?}: {error}");
    let mut told = Vec::new();
    far.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, alert, "{sends:?}");
}

#[tokio::test]
async fn a_beginning_that_breaks_the_rules_fails() {
    let unexpected = [21, 3, 3, 0, 2, 2, 10];
    // A message that is too long; one with an alert in its middle; two, of which the first is none to begin with.
    check_beginning(&[22, 3, 1, 0, 4, 1, 1, 0, 0], io::ErrorKind::InvalidData, &[]).await;
    let split = [22, 3, 1, 0, 5, 1, 0, 0, 9, 3, 21, 3, 1, 0, 2, 2, 40];
    check_beginning(&split, io::ErrorKind::InvalidData, &[]).await;
    let two = [22, 3, 1, 0, 8, 20, 0, 0, 0, 20, 0, 0, 0];
    check_beginning(&two, io::ErrorKind::InvalidData, &unexpected).await;
    // A message in more records than anybody needs.
    let mut many = vec![22, 3, 1, 0, 4, 1, 0, 255, 255];
    many.extend([22, 3, 1, 0, 1, 0].repeat(20_000));
    check_beginning(&many, io::ErrorKind::InvalidData, &[]).await;
    // Cut in the middle, and no beginning at all.
    check_beginning(&[22, 3, 1, 0, 100, 1], io::ErrorKind::UnexpectedEof, &[]).await;
    check_beginning(&[], io::ErrorKind::UnexpectedEof, &[]).await;
}

/// As after an upgrade.
#[tokio::test]
async fn a_reader_of_another_task_takes_no_wakeup_from_a_writer() {
    const LENGTH: usize = 300 << 10;
    let (server, client) = connected(16 << 10).await;
    let (mut reading, mut writing) = tokio::io::split(server);
    let (mut hearing, mut saying) = tokio::io::split(client);
    let full = Arc::new(tokio::sync::Notify::new());
    let writer = tokio::spawn(async move {
        writing.write_all(&pattern(LENGTH)).await.unwrap();
        writing.flush().await.unwrap();
    });
    let is_full = full.clone();
    let reader = tokio::spawn(async move {
        let mut byte = [0; 1];
        reading.read_exact(&mut byte).await.unwrap();
        is_full.notify_one();
        // Waits for more, which does not come.
        let _ = reading.read_exact(&mut byte).await;
    });
    // The writer has written what the pipe takes by the time that the reader has heard this.
    tokio::task::yield_now().await;
    saying.write_all(b"x").await.unwrap();
    saying.flush().await.unwrap();
    full.notified().await;
    tokio::task::yield_now().await;
    let mut heard = vec![0; LENGTH];
    let hears = tokio::time::timeout(std::time::Duration::from_secs(30), hearing.read_exact(&mut heard));
    hears.await.expect("the writer is not woken").unwrap();
    assert!(heard == pattern(LENGTH));
    writer.await.unwrap();
    reader.abort();
}

#[tokio::test]
async fn pieces_go_out_together() {
    let (mut server, mut client) = connected(1 << 20).await;
    let large = pattern(100 << 10);
    for (pieces, expected) in [
        (vec![&b""[..], b"head", b"", b"body"], 8),
        (vec![b"head", &large], WRITTEN_BYTES_MAX),
        (vec![&large, b"tail"], WRITTEN_BYTES_MAX),
        (vec![&large[..RECORD_BYTES], b"tail"], RECORD_BYTES),
        (vec![b""], 0),
        (vec![], 0),
    ] {
        let slices: Vec<_> = pieces.iter().map(|piece| io::IoSlice::new(piece)).collect();
        assert_eq!(server.write_vectored(&slices).await.unwrap(), expected);
        server.flush().await.unwrap();
        let mut heard = vec![0; expected];
        client.read_exact(&mut heard).await.unwrap();
        assert!(heard == pieces.concat()[..expected]);
    }
}
