//! Texts that nothing may be cut out of.

use super::cut;

#[test]
fn prose_code_and_numbers_stay_as_they_are() {
    for text in [
        "Der Ausschuss hat in seiner Sitzung am 3. März beschlossen, den Antrag zu vertagen – die Gründe \
         werden nachgereicht. Schlüsselfragen blieben offen; „mehr Zeit“ sei nötig.",
        "We met at noon and looked at the keys of the piano. The secret of good tea is time, and a \
         pass over the mountains is the key to the valley; log in with care.",
        "order 4711-0815-2026 shipped, tracking 00340434161094042557, commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "id: 550e8400-e29b-41d4-a716-446655440000\nsha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "let key = map.entry(name).or_default(); // the key of the map\nfor (token, kind) in tokens { emit(token, kind); }",
        "def authenticate(user, password):\n    token = create_token(user)\n    return hash(password) == user.password_hash",
        "import numpy as np\ny = a @ b\n@property\ndef name(self): return self._name",
        "npm install react@18.2.0 lodash@latest && git clone git@github.com:owner/repo.git",
        "background: url(data:image/png;base64,iVBORw0KGgo=) no-repeat; color: #a1b2c3d4",
        "Donaudampfschifffahrtsgesellschaftskapitän und Rindfleischetikettierungsüberwachungsaufgaben",
        "C:\\new\\tests\\users\\report.txt and \\\\server\\share",
        "https://example.org/a/very/long/path/to/some/resource_name_with_words?page=2&sort=asc",
        "Привет, мир! Καλημέρα κόσμε. 你好，世界。",
        "100%25 sure, 50% off & more <b>bold</b> text",
        "const ANSWER_TO_EVERYTHING_AND_MORE: usize = 42; // sk-toggleable__control-label",
        "price 12 % of sales, meet @ noon, room 3",
    ] {
        assert_eq!(cut(text), text);
    }
}
