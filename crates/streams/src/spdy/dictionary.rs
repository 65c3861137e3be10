//! What both sides of a SPDY connection have in mind before the first header. Source: draft 3, section 2.6.10.1.

use bytes::BufMut as _;

/// Each is preceded by its length.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
keep-alive origin";

/// Follows them, without any lengths.
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

pub(super) fn bytes() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1500);
    for word in WORDS.split(' ') {
        bytes.put_u32(word.len() as u32);
        bytes.put_slice(word.replace('_', " ").as_bytes());
    }
    bytes.put_slice(TEXT.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    /// The number by which the dictionary is named on the wire is its checksum.
    #[test]
    fn it_is_the_one_that_everybody_has() {
        let (low, high) = super::bytes().iter().fold((1_u32, 0_u32), |(low, high), byte| {
            let low = (low + u32::from(*byte)) % 65_521;
            (low, (high + low) % 65_521)
        });
        assert_eq!(format!("{high:04x}{low:04x}"), "e3c6a7c2");
    }
}
