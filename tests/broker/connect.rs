//! CONNECT and CONNACK.

use crate::support::*;

#[test]
fn every_version_is_accepted() {
    let broker = Broker::start(&[]);
    for version in Version::ALL {
        let mut client = Client::connect(&broker, connect().version(version));
        client.expect_nothing();
    }
}
