use empire_actors::call::Cleared;
use empire_actors::gates::budget::Hold;
use empire_actors::gates::rate::Permit;

fn by_hand(hold: Hold, permit: Permit) -> Cleared {
    Cleared { hold, permit }
}

fn main() {}
