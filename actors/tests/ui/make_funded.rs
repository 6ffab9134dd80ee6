use empire_actors::call::Funded;
use empire_actors::gates::budget::Hold;

fn by_hand(hold: Hold) -> Funded {
    Funded { hold }
}

fn main() {}
