//! Texts full of numbers that are nobody's.

use super::assert_silent;

#[test]
fn prices_measures_and_counts_stay() {
    assert_silent(&[
        "Das kostet 1.299,00 EUR oder 49,99 € im Monat.",
        "Revenue rose 12.5 % to $1,234,567,890 in 2024.",
        "3.141592653589793 and 2.718281828459045",
        "Berlin hat 3.755.251 Einwohner auf 891,1 km².",
        "Resolution 1920x1080, 4096 x 2160, 60 Hz",
        "100 000 000 Sterne, 10 000 Planeten",
        "temperatures of -12 to 37.5 °C, 1013.25 hPa",
        "add 200 g flour, 3 eggs and 125 ml milk, bake 45 minutes at 180 °C",
        "48.858370, 2.294481",
        "N 52° 31' 12.025\" E 13° 24' 17.834\"",
        "the 100 200 300 400 500 600 700 series",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20",
        "2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37",
    ]);
}

#[test]
fn dates_times_and_versions_stay() {
    assert_silent(&[
        "2024-01-31T23:59:59.123456Z",
        "am 01.02.2024 um 14:30 Uhr, bis 03.02.2024",
        "12/31/2024 11:59 PM",
        "Sprechzeiten Mo-Fr 08:00-12:00, 13:00-17:00",
        "rustc 1.95.0 (f8297e351 2026-03-28)",
        "Linux 6.8.0-45-generic #45~22.04.1-Ubuntu",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        "upgrade from 10.15.7 to 11.2.3",
        "epoch 1700000000, in ms 1700000000123",
        "© 1998-2026, all rights reserved",
        "seit 1994/95 in der 2. Liga",
        "1999 2000 2001 2002 2003 2004",
    ]);
}

#[test]
fn codes_of_things_stay() {
    assert_silent(&[
        "ISBN 978-3-16-148410-0 and ISBN 3161484100",
        "9783161484100",
        "EAN 4006381333931",
        "550e8400-e29b-41d4-a716-446655440000",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "d41d8cd98f00b204e9800998ecf8427e  empty",
        "Rechnung RE-2024-00123, Kundennummer 100234567, Bestellnummer 2024-4711-0815",
        "Invoice #INV-20240131-0042, order 112-3456789-1234567",
        "DHL Sendungsnummer 00340434161094042557",
        "tracking 1Z999AA10123456784",
        "Artikel-Nr. 4711-0815-123, Charge L2024031502",
        "doi:10.1000/182, arXiv:2307.00714",
        "SN: C02XG0FDH7JY",
        "Az. 12 O 345/23",
        "RFC 2119, ISO 9001:2015, DIN EN 60529",
        "part 0123-4567-89",
    ]);
}

#[test]
fn sports_logs_and_code_stay() {
    assert_silent(&[
        "Bayern gewann 3:2 (1:1), der Satz ging 6:4, 7:6 (7:5)",
        "100 m in 9.58, marathon in 2:00:35",
        "[2024-01-31 12:00:00,123] INFO worker-12 done in 1234 ms (5678 rows, 0.12 %)",
        "thread 'main' panicked at src/main.rs:123:45",
        "pid=12345 rss=104857600 fd=17 uptime=1234567s",
        "let x = [0x1F, 0xDEADBEEF, 1_000_000, 3.0e8];",
        "color: #336699; margin: 12px 24px 36px 48px; rgb(12, 34, 56)",
        "for (int i = 0; i < 1024; i++) buf[i] = 0;",
        "chmod 0755 run.sh && sleep 30",
        "SELECT * FROM t WHERE id IN (101, 102, 103) LIMIT 50",
        "HTTP/1.1 404 Not Found, 12345 bytes",
        "a[1234567890] = 9876543210;",
        "GET /v1/items/1234567890?page=2 200 15ms",
        "segfault at 7ffd1234 ip 00007f1234567890 sp 00007ffd12345678",
        "1, 2 oder 3? Gleis 7, Zug ICE 1601, Wagen 23, Platz 45",
    ]);
}
