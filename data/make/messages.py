"""Write data/messages.csv: made-up messages to a household-appliance shop, labelled by topic and mood.

A row is a frame (what the message is about), often with an opener and a closer that carry the mood.
Held-out rows use only frames and mood phrases that no train row uses, so that accuracy on them
measures new wording and not memorised templates. The appliances, names and days are shared.
The wordings of both splits were extended a few times after looking at held-out results of a linear
head, so the held-out rows are new wording to a model, but not a blind test of this data set's design.
"""

import csv
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SEED: Final = 20817
OUT: Final = Path(__file__).resolve().parents[1] / "messages.csv"

TOPICS: Final = ("ordering", "delivery", "returns", "warranty", "repairs", "accounts", "products")
MOODS: Final = ("angry", "neutral", "pleased")
ROWS_PER_CELL: Final = {"train": 60, "heldout": 11}

# Which kinds of frame a mood may use: "any" fits every mood, "problem" is a plainly told trouble.
TONES: Final = {
    "angry": ("any", "problem", "angry"),
    "neutral": ("any", "problem", "neutral"),
    "pleased": ("any", "pleased"),
}

SMALL: Final = (
    "kettle", "toaster", "coffee machine", "vacuum cleaner", "air purifier", "tower fan", "steam iron", "blender",
)  # fmt: skip
BIG: Final = ("washing machine", "tumble dryer", "dishwasher", "fridge", "oven", "induction hob")
NAMES: Final = (
    "Marta", "Tom", "Priya", "Jonas", "Aisha", "Bernard", "Lucy", "Mateo",
    "Ingrid", "Sam", "Yuki", "Fatima", "Oliver", "Nadia", "Henk", "Chloe",
)  # fmt: skip
DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS: Final = ("January", "February", "March", "April", "May", "June", "August", "September", "October", "November")

# How often a plain frame has both an opener and a closer; otherwise it has one of them.
BOTH: Final = 0.5

# Small slips of the kind people make when they type in a hurry.
SLIPS: Final = (
    ("please", "pls"), ("Please", "Pls"), ("receive", "recieve"), ("because", "becuase"), ("their", "thier"),
    ("tomorrow", "tommorow"), ("machine", "machne"), ("don't", "dont"), ("can't", "cant"), ("you are", "your"),
    ("would", "woud"), ("really", "realy"), ("which", "wich"), ("address", "adress"), ("until", "untill"),
)  # fmt: skip

# One frame per "- " entry under a heading of topic, split and tone.
FRAMES: Final = """
## ordering train any
- Has my order gone through?
- I want to cancel my order.
- How can I pay for {an}?
- I would like to order {an} and pay by bank transfer. How long do you hold the order for me?
- Can I still add {an} to the order I placed on {day}?
- Do you send an invoice with the company name on it? I need one for the {item} I bought.
- My voucher code says it needs a minimum spend. Does the {item} count towards it?
- Is it possible to pay for the {big} in instalments, and over how many months?
- Please cancel my order {order}, I ordered the wrong colour.
- I put two {smalls} in the basket by mistake, can you change the order to one?
- How do I use a gift card and a card payment together at the checkout?
- Could you tell me whether my payment for order {order} has gone through?
- I want to place an order for six {smalls} for our office. Can I get a quote?
- At checkout it offers me pay later. What does that cost for {an}?
- i ordered on {day} but never got the confirmation mail, did the order go trough?
- We'd like to pre-order the new {item}. Do you take the money straight away or on dispatch?
- Can I swap the {item} in my order for the bigger model before it is packed?
- Where on the order page do I type in the discount code?
- I was charged {amount} on my card and I want to check it matches the order.
- The price of the {item} dropped the day after I bought it. Do you give the difference back?
- Would you send me a VAT receipt for purchase {order}?
- Is the total in my basket the final sum or are there other costs when I buy {an}?
- I paid with the wrong credit card. Can the sum be put on the other one?
- Where can I see the orders I made last year, with the receipts?
- Does the spring discount apply to {bigs} as well, or are they left out of the promotion?
- I bought a {small} for my aunt. Can you leave the price off the bill?
- Has the {item} I put on back order got a date yet, or shall I choose a different one?
## ordering train problem
- My card was declined twice at the checkout although there is enough money on it.
- I have been billed twice for the same {item}, {amount} each time.
- The voucher was not taken off and I paid the full {amount} for the {item}.
- I asked you to cancel the order ten minutes after buying and it still says "processing".
- The invoice for order {order} has the wrong name and the wrong sum on it.
- The shop page shows an error after I enter my card number, so I cannot buy the {item}.
- The {item} I purchased has been changed to "sold out" in my order list.
- I paid by bank transfer on {day} and the order is still shown as unpaid.
## ordering train angry
- You took {amount} from my card TWICE for one {item} and nobody will own up to it. Thieves.
- So you cancelled my order without a word because of "a stock error"? I paid for that {item} a week ago!
- Your checkout ate my gift card, charged me the full price anyway and I am livid.
- Great shop, where a discount code is advertised everywhere and works nowhere. I paid {amount} like a fool.
- I cancelled the order in time and you charged me {amount} regardless. That's theft in my book!
- It is insulting that I have to beg {n} times for a simple invoice.
- Your ridiculous payment page rejected me five times and now the {item} has sold out. Well done, geniuses.
- You raised the price of the {item} AFTER I ordered it. Crooks!
- I am disgusted that you sold me {an} that you never had in stock, and kept my payment for weeks.
- I'm so annoyed that I was charged {amount} for shipping an order that said "free".
- You people can't even write a correct invoice, it's embarrassing!
- I've wasted my whole morning on your broken checkout and I'm fuming.
- It's shameful that you let me order {an} and then demand {amount} more.
## ordering train pleased
- Placing the order for {an} took me two minutes and the discount code worked first time, lovely.
- Thank you for changing my order so quickly on {day}, I was sure it was too late!
- The invoice came right after I paid and everything was correct. What a smooth purchase.
- {name} took my order by phone and even found me a voucher for {amount}. Really kind.
- The {item} was even cheaper than I expected with the voucher, I'm thrilled with my order!
- It's great that I can pay after delivery, ordering from you is always a pleasure.
- You noticed that I had ordered two {smalls} by mistake and rang me. I'm so grateful!
- Fabulous offer on the {bigs}, I ordered at once and am very happy with the price.
- I was so relieved that you could cancel my order at the last minute, you are stars.
- I'm very happy with the way you handled my order and the invoice, thank you.
- The instalment plan is a wonderful help for us, we could finally buy the {big}.
- Love your checkout, so quick and clear, I'd order here every day!
- Thank you for the generous voucher, it made my birthday order even sweeter.
## ordering train neutral
- Order {order}: please change the quantity of the {item} from one to two.
- I need a copy of the invoice for {an} bought in {month}.
- Please state which methods of payment you accept for orders above {amount}.
- The coupon was for ten per cent. The bill shows the full price of {amount}.
- I purchased {an} on {day}. The bill has not been issued so far.
## ordering heldout any
- Which cards do you accept, and can I split what I owe between two of them?
- I bought {an} an hour ago and would like to call off the purchase before it ships.
- Our accounts department wants a pro forma invoice before we buy three {smalls}. Can you make one?
- The promo code from your flyer, does it also work when I buy {an}?
- Can I change the billing address on something I ordered on {day}?
- What happens with my order if the {item} is out of stock, will I be charged anyway?
## ordering heldout problem
- The payment page froze and now I don't know if my {item} has been ordered once, twice or not at all.
- My bank shows {amount} taken by you, but there's no order in my list.
## ordering heldout angry
- I entered the coupon, you ignored the coupon, and then you pocketed the extra {amount}. Shameful.
- Why on earth was my purchase of the {item} cancelled while you happily kept my money?
- How dare you bill me for two {smalls} when I ordered a single one!
- A checkout that fails at the last step every single time is an embarrassment. I could throw the laptop.
- Your so-called special offer was a swindle, I ended up paying more than the shelf price!
- I was promised a corrected bill weeks ago. Lazy, rude and incompetent, the lot of you.
## ordering heldout pleased
- Buying {an} from you was the easiest checkout I have ever used, bravo.
- You refused to let me pay more than I had to and applied the coupon yourselves. How nice is that!
- So glad I could pay for the {big} in small monthly amounts, it was explained beautifully.
- What a bargain! I've just bought {an} with the coupon and I'm chuffed to bits.
- Thanks a million for correcting the bill so swiftly, excellent work.
- My purchase went through without a hitch and the lady on the line was adorable.
## ordering heldout neutral
- Please remove the second {item} from purchase {order} and correct the total.
- Kindly send the bill for {order} as a PDF.
## delivery train any
- When does my parcel come?
- When will my {item} be delivered? The tracking page says "in transit".
- Can the driver carry the {big} up to the third floor? There is no lift.
- I won't be home on {day}, can you move the delivery to another date?
- Could the parcel with the {small} be left with my neighbour at number {n}?
- What time on {day} will the van come with our {big}?
- How much is express shipping for {an}, and would it be here by {day}?
- Do you deliver to the islands, and how long does the parcel take?
- Will the delivery men take away the old {big} when they bring the new one?
- can you send the parcel to a pick up point instead of my home adress?
- My tracking number does not show anything yet, has the {item} left the warehouse?
- Is it possible to get a delivery window in the evening, I work until six.
- Please tell the courier to ring the bell at the back door when he brings the {item}.
- I moved house last week. Can you redirect the shipment {order} to the new address?
- Does the two-person delivery include unpacking the {big} and taking the cardboard away?
- The card from the courier says the parcel is at the depot. Until when can I collect it?
- Half of my shipment came on {day}. When does the other box arrive?
- From what amount is shipping free?
- Does somebody have to be home to sign when the courier brings the {small}?
- Which carrier do you ship with and do they come on Saturdays?
- My street is closed for roadworks. Where can the lorry stop to unload the {big}?
- Could my brother take in the package if I'm not there?
- How late in the day do the vans still drop things off?
- Is there a charge for a second attempt if the courier misses me on {day}?
## delivery train problem
- My {item} is late.
- Nothing has been delivered yet.
- The parcel was marked as delivered on {day}, but there was nothing at the door.
- My {item} was supposed to arrive on {day} and the tracking has not moved for {n} days.
- The box came completely crushed and the driver left before I could look inside.
- The driver says he rang but I was at home all day and nobody came.
- The van arrived with only one man, so the {big} is still standing in the hallway downstairs.
- The package with the {small} has not come yet, although it left you on {day}.
- The courier wrote that the address could not be found and took the package back to the depot.
- The shipping message names a neighbour I do not know.
## delivery train angry
- I took a whole day off work for your delivery and NOBODY came. Not a call, not a text, nothing.
- Your courier threw my {small} over the fence into a puddle. Into a puddle!
- {n} delivery dates, {n} no-shows. Do you actually own a van?
- Where is my {item}??? It has been "out for delivery" since {day} and I'm sick of it.
- The parcel was left out in the rain all night and the {small} is soaked. It makes my blood boil.
- Your drivers are lazy liars, the bell never rang!
- It's a bad joke that I have to chase my own delivery every single day.
- You promised {day}. It is not here. It's never here. I am so fed up with your couriers.
- The men were rude, scratched my floor with the {big} and laughed about it. Disgusting behaviour.
- I'm livid, the {big} was delivered with a huge dent and the driver told me to "deal with it".
- Worst delivery service in the world, my parcel has been lost AGAIN.
- You made my eighty-year-old mother drag the {big} upstairs by herself. Shame on you!
- I am tired of your pathetic excuses about the late {item}.
## delivery train pleased
- The {item} arrived a whole day early and the driver was so polite, what a treat.
- Two lovely men carried the {big} up four flights of stairs and were still smiling. Thank them from me!
- Tracking was spot on to the minute and the parcel was beautifully packed.
- Ordered {day}, on my doorstep the next morning. Fantastic delivery.
- The delivery was perfect, right on time and everything in one piece. Thank you!
- I'm amazed how quickly the parcel came, great work from your courier.
- The driver was a darling, he even carried the {item} into the kitchen for my grandmother.
- Happy to report the {big} is here, safe and sound, and the delivery men were charming.
- I loved that I could watch the van on the map, what a brilliant service!
- So happy, the {small} was delivered just in time for the birthday party!
- What excellent packaging, not a scratch, I'm really impressed by the delivery.
- I'm grateful that the driver called ahead and waited for me, that was so considerate.
- Super fast shipping, you are amazing!
## delivery train neutral
- Please deliver shipment {order} after {day}, as the building is closed before then.
- Tracking for {order} shows status "at depot". Please state the expected delivery date.
- The parcel may be left in the shed behind the house.
- The shipment was expected on {day}. It has not come.
- Package {order} arrived open. The {item} inside looks complete.
## delivery heldout any
- Which day is the lorry bringing our {big}?
- Someone has to sign for it, I suppose? I'd like my mum to receive the package for me.
- What do you charge to ship {an} to a small village far from the city?
- Could the courier phone me half an hour before he gets here with the {item}?
- The street is too narrow for a truck. How would you get the {big} to our door?
- I'd rather collect the package myself from a parcel shop near work, can that still be arranged?
## delivery heldout problem
- The courier's app claims a neighbour accepted my package, yet no neighbour knows about it.
- No sign of the {item} yet, and it was meant to reach us {n} days ago.
## delivery heldout angry
- Your driver dumped the {big} on the pavement in the rain and drove off. Who does that?
- I've been sitting by the window since seven for a van that never shows up, and I could scream.
- Yet another missed drop-off, yet another lie that I wasn't in.
- My package has gone missing and your courier just shrugs. I'm seething.
- The box with the {item} was smashed to bits, thanks to those careless idiots in the van.
- Late again, of course. I've wasted three afternoons waiting in for you and I'm disgusted.
## delivery heldout pleased
- The courier waited while I ran downstairs and wished me a nice day, that never happens. Loved it!
- Wow, that was fast: shipped in the evening, here before lunch, not a scratch on the {item}.
- The delivery crew took their shoes off, set the {big} in place and left no rubbish. Gems, both of them.
- Great job by the courier, my package was here in no time and I'm so impressed.
- It was brought to the very spot I wanted, with a smile. I'm really happy with the drop-off.
- I appreciate the friendly text messages about the van, they were terrific.
## delivery heldout neutral
- Consignment {order} should go to the side entrance between nine and noon.
- Please send me the tracking link for the package with the {small}.
## returns train any
- I want to return the {item}.
- I don't want the {small} any more.
- I'd like to send the {item} back. How do I get a return label?
- How many days do I have to return {an} that I have opened but not used?
- Who pays the postage if I return the {small} because I simply don't like it?
- Can I exchange the {item} for another colour?
- I dropped off the return on {day}. When can I expect the refund?
- Do I need the original box to send back the {item}?
- The {item} was a present and I already have one, can I return it without the receipt?
- Will the {amount} be refunded to my card or as store credit?
- We changed our mind about the {big}. Would you collect it for return from our flat?
- I only want to send one of the two {smalls} back and keep the other, is a partial refund possible?
- hi, want to return the {small}, its too loud for my flat. whats the next step?
- Is there a fee taken from the refund when {an} has been tried out once?
- The return form asks for a reason. Which one do I tick if it is just too big?
- Can I bring the return to a parcel shop or must I wait for a collection?
- I have printed the return label, but the parcel is now two boxes. Do I need a second label?
- Could you confirm that my returned {item} has reached your returns centre?
- If I exchange the {item} for the dearer model, do I just pay the difference?
- It turns out I don't need the {item}. Can you take it back and give me the money?
- Would you accept a return of {an} after four weeks?
- I'm returning a gift. Does the money go to me or to the person who bought it?
- Can I have the {item} picked up at work when I send it back?
- How long until the money is in my account once you have the goods back?
- Can an unwanted {small} be traded in for something else of the same price?
## returns train problem
- Where is my refund?
- You received my returned {item} on {day} and the money is still not on my account.
- I got {amount} back instead of the full price for the {item} I returned.
- You sent me {an} I did not order, so I want to send it back at your cost.
- The return label you mailed me cannot be scanned at the parcel shop.
- My return was rejected because of "signs of use", although the box was never opened.
- The goods went back to you {n} weeks ago and I have heard nothing about the money.
- I sent back two things and was only paid back for one.
- You exchanged the {small} for the same wrong colour again.
## returns train angry
- Five weeks waiting for a refund of {amount}. It is MY money, give it back!
- You want ME to pay the postage for returning something you sent wrong? Are you serious?
- I sent the {item} back, you lost it, and now you deny I ever returned it. Outrageous.
- Refund "within days", my foot. You were quick enough taking the {amount}.
- Your returns department is a black hole and I'm furious that my money has disappeared into it.
- First you sell me rubbish, then you won't take it back. I've never been so annoyed!
- How dare you keep {amount} of my refund as a "handling fee"?
- I have begged for a return label {n} times. What is wrong with you people?
- It's an absolute disgrace that I'm still waiting for my refund.
- I'm disgusted by the way you treat people who want to return something.
- Returning {an} to you is a nightmare, I've never seen such an awful mess.
- You liars told me the return was free and then deducted {amount}.
- Give me my refund and leave me alone, I want nothing more to do with you!
## returns train pleased
- The refund was on my card before I had even got home from the parcel shop, amazing.
- Thanks for taking the {item} back without any fuss, the exchange was perfect.
- Returning the {item} was so easy that I ordered a different one right away. Lovely people.
- I was dreading the return but {name} sorted it in a minute and the money is back. Delighted.
- I'm so pleased you took back the {item} after all, it was very generous of you.
- Excellent returns service, the label came at once and the refund was spot on. Thank you!
- The exchange went wonderfully and I love the new {small}.
- It was so kind of you to refund the postage as well, that was a lovely surprise.
- Great that the courier collected the return from my door, so easy, I'm impressed.
- What a generous return policy, I'm very impressed and grateful.
- Thank you so much for the quick refund, it made a bad week good.
- I'm happy with the exchange, the other {item} is just perfect for us.
- {name} was so friendly about my return although it was my own mistake. Wonderful!
## returns train neutral
- Please issue a return number for the {item} from order {order}.
- I am withdrawing from the purchase of the {item} within the return period. Please refund {amount}.
- The returned goods were handed in on {day}; the tracking slip is attached.
- The {item} goes back unused. Please pay the money to the account I paid from.
- I do not wish to keep the {item} and would like to return it.
## returns heldout any
- This {item} isn't for me after all. What must I do to give it back and get my money?
- Would you swap the white {small} for a black one if I post it back to you?
- Is it too late to send something back after three weeks?
- How long does it usually take until I'm reimbursed for goods I've posted back?
- I threw the packaging away, will you still take back the {item}?
- May an unwanted gift be swapped for store credit?
## returns heldout problem
- My reimbursement for the {item} I sent back is {amount} short.
- It's been {n} weeks since the parcel went back to you and no money has come.
## returns heldout angry
- Stop sitting on my refund! The {item} has been back in your warehouse for ages.
- You knocked {amount} off my refund for a scratch that YOU made. What a rip-off.
- I refuse to pay a cent to send back this junk that isn't even what I bought.
- You're holding my money hostage, and I am outraged at how you deal with goods sent back.
- Getting reimbursed by you is a farce, I'm ashamed I ever trusted this shop.
- So I'm a liar now? I sent that {item} back unused, and your accusation makes me furious!
## returns heldout pleased
- I sent it back on {day} and was reimbursed in full by the next morning, no questions asked. Superb!
- Swapping the {item} for a smaller one went like a dream, cheers to the whole returns team.
- Never had such a painless refund in my life, you're stars.
- I'm tickled pink that you gave me the full amount back, thank you ever so much.
- It's lovely how kindly you took the unwanted {item} back, I'm truly impressed.
- Sending it back was a breeze and the money came quickly, wonderful!
## returns heldout neutral
- I wish to give back the {small} I received on {day} and request reimbursement.
- Please collect the unwanted {big} for return next week.
## warranty train any
- Is my {item} still under warranty?
- How long am I covered?
- A question about the guarantee on my {big}.
- How long is the guarantee on {an}?
- Where do I register my {item} for the extra year of warranty?
- Is the motor of the {big} covered longer than the rest under the warranty?
- I bought {an} in {month} two years ago. Is it still under guarantee?
- Does the warranty cover the battery of a cordless vacuum as well?
- Would limescale damage be excluded from the guarantee on a kettle?
- What do I need to make a warranty claim, is the invoice enough?
- Can the warranty be passed on if I sell the {item} to a friend?
- Is it worth buying the extended cover for the {big}, and what does it include?
- i lost the receipt for my {item}, is the guarantee gone now?
- Until when can I still add the extended warranty to the {item} I bought in {month}?
- Does the guarantee start on the day of purchase or when the {big} was delivered?
- If you replace the {item} under warranty, does the new one get a fresh guarantee period?
- We use the {item} in a small café. Does that void the warranty?
- Could you check if my warranty registration for the {item} went through?
- My claim {order} under the guarantee was sent on {day}. What is its status?
- Which parts count as wear and tear and are not covered by the guarantee?
- Does the manufacturer's cover pay for a broken glass door on {an}?
- What is excluded from the guarantee if a claim comes in?
- Is the guarantee in my name if someone else paid for the {item}?
- How do I prove my claim when the serial number has worn off?
- Am I covered if the {item} was opened by somebody else before?
- Until what date does the cover on my {big} run?
## warranty train problem
- My warranty claim was refused because of supposed misuse, and I would like to know the grounds.
- The guarantee certificate for the {item} was missing from the box.
- The website says my serial number is invalid when I try to register the guarantee.
- It broke one week after the guarantee ran out, is there any goodwill cover?
- My extended warranty for the {big} is not shown anywhere although I paid for it.
- The guarantee claim for my {item} was turned down and the letter names an exclusion I can't find.
- Your system shows the cover as expired, though the {item} is only {n} months old.
- I claimed under the guarantee on {day} and no decision has come.
## warranty train angry
- Four-year guarantee, you said. Now that I make a claim it is suddenly "wear and tear". What a con.
- You rejected my warranty claim in one lazy sentence. I want a proper answer from a human being!
- I paid extra for extended cover on the {big} and now you tell me it covers precisely nothing. Scandalous.
- So the guarantee covers everything except whatever breaks? Laughable.
- Your guarantee is worthless and I feel like an idiot for trusting you.
- I'm furious that you refuse to honour the warranty on a {big} that is barely a year old!
- You keep inventing new reasons not to pay my warranty claim. It's shameful.
- Who writes these guarantee terms, professional liars?
- I've sent the proof of purchase {n} times for this claim and you keep "losing" it. Outrageous!
- I'm appalled that you won't accept a clear guarantee case.
- Your extended cover is a scam, plain and simple, and I'm very angry that I fell for it.
- What a disgusting trick to void my warranty over a missing sticker!
- You should be ashamed to call this a guarantee.
## warranty train pleased
- My claim was accepted the same day and a brand-new {item} is covered for another year. Wonderful!
- I'm so glad I registered the guarantee, it saved me {amount}. Thank you!
- Great to see a shop that stands by its warranty without arguing.
- Thanks to {name} for explaining the cover so clearly, I feel in very good hands.
- I'm delighted that the guarantee covered everything, what an honest company.
- It's wonderful that the {item} is covered for so long, that gives me real peace of mind.
- You approved my claim so fast, I was amazed. Thank you so much!
- Registering the guarantee took a minute and gave us a whole extra year, fantastic.
- Such a kind answer to my warranty question, I'm very happy I bought from you.
- Thank you so much for accepting the claim, that's what I call a fair guarantee.
- I love that you gave us a new {item} under warranty, fantastic service.
- So relieved and happy that the guarantee still applies, bless you!
- Excellent cover for a fair price, I'm very pleased with the extended warranty.
## warranty train neutral
- Please confirm in writing the end date of the guarantee for my {item}.
- I hereby submit a warranty claim for the {item}, serial number {n}0{n}7.
- Please list the exclusions of the extended cover for {bigs}.
- The cover for my {big} ends in {month}. I would like to extend it.
- Claim {order}: the proof of purchase is attached.
## warranty heldout any
- For how many years are {bigs} guaranteed with you?
- Am I still covered if I don't have proof of purchase for the {item}?
- Is a cracked glass lid something the manufacturer's guarantee pays for?
- Does prolonging the cover on my {item} have to happen within a certain time?
- I received the {item} as a gift, so can the warranty be put in my name?
- Would opening the casing myself make the guarantee void?
## warranty heldout problem
- I signed up my {item} for the additional guarantee year, but no certificate has come.
- You say the cover on my {item} expired in {month}; by my count it runs for another year.
## warranty heldout angry
- What is a guarantee worth if you wriggle out of each and every claim? Nothing!
- Denied, denied, denied. I've paid for cover on this {big} and you hide behind small print, you cowards.
- It's two months inside the warranty and you have the nerve to say I'm not covered.
- I'm enraged that a {big} which dies after a year is "not covered". Your guarantee is a joke!
- Shameful, the way you hide behind exclusions and treat honest people like cheats.
- I could weep with rage about this turned-down claim.
## warranty heldout pleased
- You honoured the guarantee though I was a week late, what a generous gesture!
- Hurrah, the claim is approved. I never thought a guarantee could be this straightforward.
- The longer cover on our {big} has paid off splendidly, I'm so happy I took it.
- Many thanks for the gracious way you handled my claim, I'm overjoyed with the replacement.
- It's marvellous to have such long cover, and I feel really well looked after.
- You granted the claim at once, fabulous, I'm so glad I chose you.
## warranty heldout neutral
- Kindly tell me whether the guarantee for serial {n}4{n}1 is active.
- I request a copy of the warranty terms for {bigs}.
## repairs train any
- My {item} is broken.
- The {big} doesn't work any more.
- My {big} shows an error code and stops in the middle of the cycle. Can a technician come?
- How much does it cost to have {an} repaired when it is a few years old?
- Do you sell a replacement door seal for the washing machine?
- The {item} makes a grinding noise, is that something you can fix?
- When is the earliest day an engineer could visit to look at the {big}?
- Where can I buy a spare jug for my coffee machine?
- How long does a repair in your workshop usually take for {an}?
- The dishwasher doesn't drain any more. Is there something I can check before calling a repairman?
- Can I fit the new pump myself or must your technician do it?
- the {small} wont switch on anymore, can it be mended?
- I need a new brush roller and belt for my vacuum cleaner, which part number is it?
- The technician was here on {day} and said a part must be ordered. When will he be back?
- Could I borrow a loan machine while my {item} is in the workshop?
- Is it still worth repairing {an} that leaks at the bottom?
- Please give me an estimate for fixing the thermostat of the oven.
- My {item} is in for repair under number {order}. Is it ready yet?
- The fridge has stopped cooling properly and there's ice at the back. What should the engineer know?
- Our {big} leaves a puddle on the floor. Could you send somebody?
- What does it cost when an engineer comes out and only looks at the {big}?
- The handle came off my {small}. Can I get that part from you?
- My {item} switches itself off after a few minutes. What might be broken?
- The lights on the {big} flash and nothing happens, is there a way to restart it?
- Could a mechanic look at the squeaking drum before it gets worse?
## repairs train problem
- The {item} has died on me.
- The {item} you repaired in {month} has broken down again with the same fault.
- The engineer did not turn up for the repair appointment on {day}.
- Since the technician changed the heating element, the {big} trips the fuse.
- You have had my {small} in the workshop for {n} weeks and I have no repair date.
- The spare part you sent does not fit my {item}.
- The {big} no longer heats and trips the fuse now and then.
- The {small} stopped working in the middle of use and smells of burning.
- The mechanic came on {day} but did not have the right part with him.
## repairs train angry
- Your so-called technician left my {big} in pieces on the kitchen floor and walked out!
- Third repair, same fault. Did anybody even open the thing or do you just dust it off and post it back?
- {n} weeks in your workshop and the {item} came back MORE broken than before. Incredible.
- No hot water in the {big}, no engineer, no apology. I'm washing by hand because you can't fix anything.
- The repair was a total botch and I'm furious. The {item} is worse than ever!
- It is outrageous to charge {amount} for a technician who stood around and did nothing.
- Your repair service is a bunch of bunglers who shouldn't be allowed near a screwdriver.
- You have had my {item} for {n} weeks and nobody bothers to call. It's infuriating!
- I'm sick of sitting in a flooded kitchen because your engineer can't be bothered to come.
- I'm fed up to the back teeth with this {big} breaking down and with your useless mechanics.
- Your technician was rude, late and clueless. Awful man.
- How dare you demand {amount} for a repair that lasted two days?
- It's disgraceful that you leave a family without a {big} for {n} weeks.
## repairs train pleased
- The technician fixed the {big} in twenty minutes and it purrs like new. What a nice man!
- My old {item} is running again thanks to the spare part you found. You saved it, thank you!
- So happy with the repair, {name} even cleaned the filter and showed me how to do it.
- The workshop mended my {small} within days and it works better than ever. Brilliant job.
- Amazing work by your technician, the {big} is as good as new. We are so happy!
- I'm very grateful that you repaired my {small} for free, I didn't expect that at all.
- The spare part fitted perfectly and cost next to nothing, I'm delighted.
- What a lovely engineer, so polite and clever, and the noise is finally gone. Thank you!
- Great advice from {name} on the phone, I fixed the {item} myself in five minutes. Fantastic!
- Excellent repair, quick and tidy and cheaper than I feared. I'm very happy!
- You mended the {item} so beautifully, I could dance with joy.
- Thank you for sending such a nice technician, he was brilliant.
- I'm impressed that you still had a spare part for my ancient {item}, wonderful service.
## repairs train neutral
- Please book a technician for the {big}. The fault: it does not spin.
- Part needed: drain pump for {an}. Please state price and availability.
- The {item} was sent to the workshop on {day}. Please report the state of the repair.
- Fault: the door of the {big} does not close. A repair is needed.
- The {small} is defective. I would like to send it to your workshop.
## repairs heldout any
- Our {big} has begun to leak water onto the floor, can someone come and have a look at it?
- What's the call-out charge for an engineer?
- Are there still replacement parts for a ten-year-old {item}?
- The {small} gets hot and then cuts out. Could your workshop take a look?
- Is there a way to reset the {big}? The display blinks and the drum won't turn.
- I snapped the handle of my {small}. Do you stock that piece?
## repairs heldout problem
- The mechanic replaced a part on {day}, and the {big} still rattles and won't heat.
- I posted my faulty {small} to your service workshop and haven't had an estimate so far.
## repairs heldout angry
- Your engineer made it worse, charged me {amount} and had the cheek to leave oil all over my floor.
- How many visits does it take you clowns to mend one {big}?
- A month without a working {big} because you can't get hold of a simple pump. Hopeless!
- Your engineer is an incompetent fool and my {big} is wrecked. I am enraged.
- It stinks: I pay {amount} and the leak is worse than before!
- Still broken. Still no spare part. I'm disgusted with the lot of you.
## repairs heldout pleased
- The engineer was punctual, cheerful and had the {big} humming again before his tea got cold.
- I thought my {small} was dead for good, but your workshop brought it back to life. Magic!
- A new seal, ten minutes' work and the leak is gone, I'm thrilled with the mechanic.
- I'm chuffed with the mended {small}, it runs beautifully, thank you all.
- What a fantastic mechanic, he found the fault straight away and was ever so nice.
- Great news, the new pump works like a charm, I'm so thankful for your engineer's help!
## repairs heldout neutral
- An engineer's visit is requested for {an} which no longer heats.
- Please quote the cost of mending a broken hinge on the {big}.
## accounts train any
- I'd like to close my account.
- I forgot my password, how do I reset it?
- Can I change the email address I use to log in?
- How do I turn on two-step sign-in for my account?
- Please take me off the newsletter list.
- I would like you to delete my account and all my personal data.
- Can my wife and I share one customer account with two logins?
- I have two accounts by accident, can they be merged?
- Where do I see how many loyalty points I have in my profile?
- What data do you store about me, and can I get a copy of it?
- My surname changed, how can I update it in my profile?
- the reset link in the mail says expired, can u send a new one?
- How do I set which emails I get from you? I only want the important ones.
- I have a new phone number and can't receive the sign-in code. What now?
- Do I need an account at all, or can I stay a guest?
- Could you unlock my account? I typed the wrong password too often.
- I got a mail about a sign-in from a device I don't know. Was that you or should I change my password?
- Is it possible to save more than one address in my customer profile?
- How many characters does the password need to have?
- Does my profile get deleted if I don't sign in for a long time?
- Can you tell me which mailbox my login is linked to?
- Who at your company can read my personal details?
- I would like to stop the marketing texts and mails.
- Are my bonus points lost when I close my profile?
## accounts train problem
- I can't log in.
- My password does not work.
- I can't log in since {day}, the page says my user name is unknown.
- The password reset mail never arrives, not even in the spam folder.
- I unsubscribed from your newsletter in {month} and still get it every week.
- All my loyalty points have vanished from my profile.
- Someone else's name and address appear when I open my account.
- After signing in I land on an empty page and can't see my profile.
- The code that I need to sign in comes ten minutes late, when it is no longer valid.
- My profile shows an old phone number that I cannot edit.
## accounts train angry
- I have unsubscribed from your spam {n} times. STOP EMAILING ME.
- Locked out of my own account for {n} days and your robot keeps sending the same useless link!
- You leaked my email address, didn't you? Since I signed up I get junk all day and I'm furious.
- Delete my account. I asked in {month}, I asked again on {day}, what part of delete is so difficult?
- Your login is complete garbage and I'm furious at being locked out yet again!
- How dare you share my personal data without asking me?
- I'm disgusted that my account was closed and all my points stolen.
- Stop your idiotic newsletters, I hate them and never asked for them!
- It's infuriating: every time I reset the password your stupid page rejects it.
- Your website's sign-in is the stupidest thing I've ever seen and I am losing my temper.
- It's outrageous that you won't delete my data, who do you think you are?
- I'm really angry about your constant advertising mails. Stop it!
- You lost all my points and you don't even say sorry. Disgusting!
## accounts train pleased
- {name} got me back into my account in under a minute, what a relief, thank you!
- The new profile page is a delight, I found all my settings straight away.
- I love the newsletter, the recipes are great, please add my sister to it as well.
- Signing in with the code is so simple now, even my grandad manages. Well done!
- My account works again, I'm so happy, you are the best!
- It's great how carefully you protect my data, that makes me feel very safe. Thank you.
- I'm thrilled with the bonus points on my account, what a lovely birthday surprise!
- Changing my email was wonderfully easy, great website.
- {name} merged our two accounts with such patience, we're really grateful.
- Thank you so much for unlocking my account so quickly, you're wonderful.
- I'm very happy with the new login, so easy and safe.
- Lovely newsletter this month, I enjoyed every line!
- Excellent help with my password, I'm so grateful to {name}.
## accounts train neutral
- Please change the email address of my customer account to the one I am writing from.
- I request a copy of my personal data stored in your systems.
- Please confirm that my customer account has been closed.
- My login no longer works. The user name is the mail address I write from.
- The newsletter goes to two of my addresses. One is enough.
## accounts heldout any
- What must a new password look like? Mine keeps being turned down.
- Could you switch off the marketing mails for my login?
- I'd like to know who can see my personal details at your company.
- My old mailbox is gone, so how do I get back into my profile?
- Is there a way to join the two customer profiles we have?
- Does closing my user profile wipe my bonus points?
## accounts heldout problem
- Whenever I sign in, the page throws me straight out again.
- The six-digit code for signing in never reaches my phone.
## accounts heldout angry
- For heaven's sake let me into my account! Your login page is a bad joke.
- I never agreed to your marketing drivel, so take my address off your list NOW.
- My profile has been hacked and all you do is send me links that don't work. Useless!
- Another day, another failed login. I'm so angry with this garbage website.
- You sold my details to advertisers and I am absolutely outraged!
- Wiping my bonus points overnight is a dirty trick, you should be ashamed.
## accounts heldout pleased
- Hooray, I can sign in again, and the chap who reset it was so patient with me.
- The privacy settings are wonderfully clear, I wish every site did it like this.
- Your monthly mail always cheers me up, happy to stay subscribed!
- I'm so relieved to be back in my profile, thanks a bunch for the super quick help.
- The bonus points are a terrific idea, they made me really happy.
- What a friendly helper in the chat, my login works perfectly now. Great!
## accounts heldout neutral
- Kindly erase my user profile and confirm this by email.
- Please update the phone number linked to my login.
## products train any
- Is the {item} easy to clean?
- How big is the {big}?
- Tell me more about the {small}.
- What are the exact height and width of the {big}? The gap in my kitchen is sixty centimetres.
- How loud is the {item} in decibels?
- Which {small} would you recommend for a family of five?
- What is the difference between the two {bigs} you list, apart from the price?
- Does the kettle let you set the temperature for green tea?
- How many kilos of laundry does the larger washing machine hold?
- Is the air purifier strong enough for a room of forty square metres?
- does the {item} come in red or only in white and black?
- Does the coffee machine work with ground coffee as well as beans?
- How much power does the {big} use in a year, and what is its energy rating?
- I am choosing between a robot vacuum and a stick one, which is better for dog hair?
- Would a standard baking tray fit in the compact oven?
- How long is the cord on the {small}?
- Will my old pans work on the induction hob or do I need special ones?
- Is there a {small} that is easy to use for someone with weak hands?
- How many litres does the fridge hold and does it have a no-frost freezer?
- Can the blender crush ice, and are the parts dishwasher safe?
- Has the {small} got a handle that stays cool, and how heavy is it?
- Is there a small {big} for a studio flat?
- How many cups does the bigger coffee machine make in one go?
- Is the inside of the kettle steel or plastic?
- Does the oven have a grill and a steam function?
- Can these two models stand on top of each other?
## products train problem
- The description says the {item} has a timer, but the picture shows none. Which one is right?
- The size given on the page for the {big} differs from the one in the manual.
- I can't find anywhere how many watts the {item} has.
- The comparison table mixes up the features of the two {smalls}.
- Your site does not say whether the {item} can be used with an extension lead.
- The photo shows a white {item} and the text says silver.
- The page gives two different capacities for this {big}.
- The technical data of the {small} is missing from the page.
## products train angry
- Your product page is a pack of lies: "whisper quiet" the {item} certainly is not!
- Is it too much to ask to print the actual size of {an} somewhere? Useless descriptions, all of them.
- Who designed this {small}? The buttons are idiotic and the lid is a bad joke.
- "Fits every kitchen", it says. It fits no kitchen on this planet. Stop misleading people about the {big}!
- I hate this {item}, it's a miserable piece of plastic and your description is a fraud.
- It's infuriating that nobody at your shop knows how big the {big} is!
- The {small} is horribly loud. "Quiet mode"? You must be deaf.
- I feel cheated by your photos, the {item} looks cheap and nasty in real life.
- What idiot decided to drop the timer from the new {small}? It's a disgrace.
- I'm so disappointed and angry, the {item} is nothing like what you described.
- What a useless piece of junk this {small} is!
- Your sales chat gave me nonsense about the {big} and I'm furious.
- The worst {item} I've ever owned, ugly, loud and badly made.
## products train pleased
- I adore the new {item}, it is so quiet and looks gorgeous. Does it come in a smaller size too?
- The {item} is the best I have ever had, toasty results and easy to clean. Which one suits my mum?
- Your comparison guide is excellent, it helped me choose between the {smalls} in no time.
- We love our {big}! Is there a matching {small} in the same colour?
- I'm delighted with the {item}, it's beautiful and so easy to use. Which accessories go with it?
- What a wonderful range of {bigs}, thank you for the great advice on sizes!
- The new {small} is fantastic, we use it every day and love it.
- Your adviser {name} explained the features so kindly that I'm happy with my choice.
- Such a gorgeous {big}, so silent and roomy. I am really impressed with the quality!
- This is a marvellous {small}, I'm so happy with it and tell everyone about its features.
- Excellent quality and a lovely design, the {item} is worth every cent.
- I'm so excited about the new {bigs}, they look fantastic! When do they come out?
- Thank you for the helpful tips on choosing {an}, it's perfect for our little kitchen.
## products train neutral
- Please tell me the depth of the {big} including the door handle.
- Please send the technical data sheet of the {item}: power, weight, capacity.
- I want to compare the {item} with the previous model. Which features are new?
- The page names no noise level for the {item}. I would like to know it.
- I am looking for a {big} less than fifty-five centimetres wide.
## products heldout any
- Before I decide: how heavy is the {item} and does it have a handle?
- Which of your {bigs} is best for a tiny flat?
- Does the {small} have a keep-warm function?
- How many slices can the bigger toaster do at once?
- I'm wondering whether the steam oven also has a grill.
- Can the dryer be stacked on top of the washing machine?
## products heldout problem
- Two pages on your site give different capacities for the same {big}.
- Nowhere is it written if the {small} is free of plastic on the inside.
## products heldout angry
- What dreadful design: the {small} has a noise like a jet and controls made for elves. Awful thing!
- You call that a "large capacity" {big}? Shame on whoever wrote that nonsense.
- Three models, three identical descriptions, zero useful facts. How is anyone meant to choose, you muppets?
- I'm appalled at how flimsy the {small} is, your photos are a swindle.
- This {item} is awful, it's noisy, ugly and a pain to clean. I loathe it!
- Nobody in your chat has a clue about the {big}. What a bunch of incompetent fools.
## products heldout pleased
- My {small} makes me smile every morning, such clever features! Is there a big brother to it?
- What a beauty of {an}, the glass version looks stunning. How many colours are there?
- I'm in love with the quiet mode on this {item}. Do your other models have it as well?
- I'm overjoyed with my {item}, the quality is superb. Is there a carrying case for it?
- The adviser in the chat was terrific and found the ideal {big} for our kitchen, bless her.
- Great design, whisper quiet, such a happy purchase. Do you make a travel version of the {small}?
## products heldout neutral
- Kindly give the dimensions of the opening needed for a built-in {big}.
- What voltage and wattage does the {small} have?
"""

# One phrase per "- " entry under a heading of mood, split and place.
PHRASES: Final = """
## angry train open
- This is beyond a joke now.
- I am absolutely furious.
- Third time I write to you and still nothing!
- Unbelievable.
- Oh wonderful, another week and another excuse from you lot.
- Honestly, how hard can it be?
- I've had enough of being passed from one person to the next.
- What a shambles.
- Your service has been appalling from start to finish.
- Are you people even reading these messages?!
- I am extremely disappointed and very angry with your company.
- For crying out loud.
- I can't believe how badly you treat people.
- Enough is enough.
- How dare you treat loyal customers like this?
- I'm writing in anger, and rightly so.
- You have got to be kidding me.
- Once again you have let me down.
- What on earth is going on with you lot?
- I am livid.
- My patience with you is at an end.
- Thanks for nothing, as usual.
- Does anyone at all work there, or is it just a machine sending excuses?
- This is the worst experience I've had with any shop.
- It makes my blood boil.
- I'm really annoyed.
- Shame on you!
- Ridiculous!
- You clearly couldn't care less about us.
- Let me be blunt: you are useless.
- I am very angry.
- It is outrageous how I'm being treated.
- I'm so annoyed I hardly know where to start.
- Your incompetence knows no limits.
- This makes me sick.
## angry train close
- Sort it out today or you have lost a customer.
- I will be telling everyone I know to avoid your shop.
- Forty minutes on hold and then cut off. Disgraceful.
- Frankly I feel cheated.
- And spare me another copy-and-paste reply.
- I have never been treated this badly by a shop.
- Not good enough, not even close.
- Congratulations, worst customer service of the year.
- You should be ashamed of yourselves.
- I am sick and tired of chasing you.
- What a terrible, terrible company.
- I want a manager to call me, and I want it now!
- It's an insult.
- You are a bunch of amateurs.
- I'm not going to put up with it any longer.
- Daylight robbery.
- Never again will I buy a thing from you!
- Absolute rubbish.
- Utterly unacceptable.
- I hope you go bust.
- My next letter goes to the newspaper.
- I'm so angry I could spit.
- And no, I will not "rate my experience".
- Just do your job for once!
- It is outrageous and I demand an explanation.
- I've wasted an entire week on your incompetence.
- Don't you dare ignore me again.
- I bitterly regret ever choosing your shop.
- Truly hopeless.
- I have run out of nice words for you.
- One star, and only because zero isn't possible.
- I hate dealing with your company.
- This makes me furious.
- Your customer service is awful.
- I'm never coming back.
## angry heldout open
- I'm fuming as I type this.
- Well, thanks a lot for nothing.
- Nobody at your company seems to care in the slightest.
- This is ridiculous and I am losing my patience.
- I'm beyond annoyed with the lot of you.
- I'm outraged.
- You've ruined my week and I'm cross beyond words.
- Seriously, what is the matter with you?
- I have a very angry complaint.
## angry heldout close
- It is a disgrace and I want someone to answer for it.
- I'm done being polite about this, your service is rubbish.
- That's the last time I ever spend money with you.
- Pathetic, really.
- I'm utterly fed up with this nonsense!
- Dreadful service, dreadful attitude.
- Your staff are rude and clueless.
- I despise this kind of treatment.
- You make me so mad!
## neutral train open
- Hello.
- Good morning.
- Hi there.
- To whom it may concern,
- I have a short question.
- Dear team,
- A query from a customer.
- Hello, {name} here.
- I am writing about reference {order}.
- I am asking on behalf of my father.
- Just for information.
- This is {name}, customer since {month}.
- Good evening.
- Greetings.
- Hi team.
- One question please.
- I have the following request.
- To customer services:
- I would like some information.
- I'm {name} and I have a question.
- Regarding my message of {day}:
- Following our call on {day}.
- I am a customer of yours.
- With reference to {order}.
## neutral train close
- Please let me know.
- Regards, {name}
- A reply by {day} would be enough.
- My reference is {order} if you need it.
- There is no hurry.
- You can reach me by email.
- I look forward to your answer.
- Please confirm.
- I am available on {day} for a call.
- I could not find this on the website.
- Yours faithfully, {name}
- Thanks in advance.
- Thank you.
- With kind regards, {name}
- Let me know either way.
- A short answer is enough.
- I'd like to hear what the next step is.
- Could you tell me more about it?
- Can you look into it?
- My phone is on after four o'clock.
- Yours, {name}
- I will check my mail on {day}.
- {name}, reference {order}
- I need this by {day}.
- Can someone get back to me?
## neutral heldout open
- Good afternoon.
- Hi, quick one.
- Dear Sir or Madam:
- A general enquiry.
- I'm contacting you regarding {order}.
- My name is {name}.
- Hello again.
- I need an answer to the following.
## neutral heldout close
- Please advise.
- Reference: {order}.
- An answer in writing is fine.
- Best, {name}
- I did look at the help pages first.
- Sent from {name}'s phone.
- Greetings, {name}
- Is there anything else you need from me?
## pleased train open
- Just wanted to say your team has been wonderful.
- What a lovely shop you run!
- Brilliant service as always, thank you.
- I'm over the moon so far.
- Big thanks to {name} on the phone, who could not have been kinder.
- First of all, well done, everything has gone so smoothly.
- Good news from me for a change :)
- It is so refreshing to deal with people who actually answer.
- I am very happy with your company and wanted you to know.
- Yay!
- You were a great help last time.
- You have been so kind to me.
- What a joy it is to be your customer!
- Hello to the loveliest team around.
- I'm thrilled with everything so far.
- Compliments to your staff, they are simply excellent.
- Wow, what great service!
- I'm a very happy customer.
- Thank you, thank you, thank you!
- I don't often write praise, but you deserve it.
- Lovely people, all of you.
- So pleased with how you treat your customers.
- {name} was an angel when I rang, so helpful and cheerful.
- Fantastic!
- You've put a big smile on my face.
- Thanks to your marvellous team for the warm welcome.
- I was pleasantly surprised by how good you are.
- Bravo to all of you.
- I'm very grateful to you.
- It is wonderful how well I'm being treated.
- I'm so happy I hardly know where to start.
- Excellent work, everybody.
- I'm delighted.
## pleased train close
- Thanks so much, you have made my week.
- Five stars from our family.
- Keep up the great work!
- I'll happily recommend you to my neighbours.
- Really impressed, honestly.
- So grateful for the patient help.
- It has been a pleasure from start to finish.
- Couldn't be happier.
- You really are the best shop in town.
- Warm thanks to everyone, {name}
- I have nothing but praise for you.
- That would be the cherry on top of great service!
- I'm really grateful, you are wonderful.
- Much appreciated, you are a treasure.
- I love your shop!
- You do a superb job, all of you.
- My wife and I are delighted.
- I wish every company was as nice as you.
- Please pass on my thanks to {name}, such a helpful person.
- Happy customers here, and we'll be back!
- Best shop ever :)
- Thank you for being so friendly every time.
- Ten out of ten.
- It's been great and I can't thank you enough.
- You have a fan for life.
- I am so happy with it all.
- Simply excellent.
- Thanks again for the terrific help.
- It made me very happy.
- All perfect, cheers!
- A big hug to the whole team.
- I love dealing with your company.
- This makes me very happy.
- Your customer service is excellent.
- I'm coming back for sure.
## pleased heldout open
- I must compliment you on such friendly staff.
- Hooray, a company that truly cares!
- Very pleased customer here.
- Hats off to {name}, who was a star.
- I'm delighted with how you've looked after us.
- I'm glad to say you have been terrific.
- You've brightened my week and I'm happy beyond words.
- Aren't you all just lovely!
- I have a very happy bit of feedback.
## pleased heldout close
- Thank you kindly, you have been marvellous.
- I will definitely be shopping with you again, superb.
- All in all a joy to deal with.
- Top marks from me.
- I'm so thankful, you are all fabulous!
- Splendid service, splendid attitude.
- Your staff are charming and clever.
- I really appreciate this kind of treatment.
- You make me so happy!
"""


@dataclass(frozen=True)
class Row:
    """One line of the CSV."""

    text: str
    topic: str
    mood: str
    split: str


def parse(block: str) -> dict[tuple[str, str, str], list[str]]:
    """Read a block of headings and "- " entries; an indented line continues the entry above it."""
    found: dict[tuple[str, str, str], list[str]] = {}
    entries: list[str] = []
    for line in block.strip().splitlines():
        if line.startswith("## "):
            first, second, third = line[3:].split()
            entries = found.setdefault((first, second, third), [])
        elif line.startswith("- "):
            entries.append(line[2:])
        else:
            entries[-1] += " " + line.strip()
    return found


def check_apart(found: dict[tuple[str, str, str], list[str]]) -> None:
    """Refuse an entry that is written twice, and a sentence that stands in both splits."""
    seen: set[str] = set()
    split_of: dict[str, str] = {}
    for (_, split, _), entries in found.items():
        for entry in entries:
            if words(entry) in seen:
                raise ValueError(f"written twice: {entry}")
            seen.add(words(entry))
            for sentence in re.split(r"(?<=[.!?])\s+", entry):
                if split_of.setdefault(words(sentence), split) != split:
                    raise ValueError(f"in both splits: {sentence}")


def words(text: str) -> str:
    """Reduce a text to its words in lower case, so that punctuation makes no difference."""
    return re.sub(r"\W+", " ", text.lower()).strip()


def with_article(noun: str) -> str:
    """Put "a" or "an" before a noun."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(noun: str) -> str:
    """Make the plural of an appliance's name."""
    return f"{noun}es" if noun.endswith("sh") else f"{noun}s"


def fill(text: str, rng: random.Random) -> str:
    """Fill the slots of a frame or phrase."""
    small, big = rng.choice(SMALL), rng.choice(BIG)
    item = rng.choice((small, small, big))
    values = {
        "item": item,
        "an": with_article(item),
        "small": small,
        "smalls": plural(small),
        "big": big,
        "bigs": plural(big),
        "name": rng.choice(NAMES),
        "day": rng.choice(DAYS),
        "month": rng.choice(MONTHS),
        "order": f"OM-{rng.randrange(10_000_000, 99_999_999)}",
        "amount": f"€{rng.choice((29, 35, 45, 59, 69, 79, 129, 189, 299, 389, 419, 479, 569, 649))}",
        "n": str(rng.randrange(3, 9)),
    }
    return text.format_map(values)


def join(opener: str, body: str, closer: str) -> str:
    """Put the parts of a message together as running text."""
    return " ".join(part for part in (opener, body, closer) if part)


def roughen(text: str, rng: random.Random) -> str:
    """Now and then write as people in a hurry do: slips, no capitals, no last full stop."""
    if rng.random() < 0.15:
        for good, slip in rng.sample(SLIPS, len(SLIPS)):
            slipped = re.sub(rf"\b{good}\b", slip, text, count=1)
            if slipped != text:
                text = slipped
                break
    roll = rng.random()
    if roll < 0.06:
        return text.lower()
    if roll < 0.12 and text.endswith("."):
        return text[:-1]
    return text


class Deck:
    """Deals entries in random order and starts over only when all were dealt."""

    def __init__(self, entries: list[str], rng: random.Random) -> None:
        """Keep the entries and the generator that shuffles them."""
        self._entries = entries
        self._rng = rng
        self._left: list[str] = []

    def deal(self) -> str:
        """Return the next entry."""
        if not self._left:
            self._left = self._rng.sample(self._entries, len(self._entries))
        return self._left.pop()


def make_cell(
    topic: str,
    mood: str,
    split: str,
    frames: dict[tuple[str, str, str], list[str]],
    decks: dict[tuple[str, str, str], Deck],
    taken: set[str],
    rng: random.Random,
) -> list[Row]:
    """Make the rows of one topic, mood and split."""
    decks_by_tone = {tone: Deck(frames[topic, split, tone], rng) for tone in TONES[mood]}
    openers, closers = decks[mood, split, "open"], decks[mood, split, "close"]
    rows: list[Row] = []
    while len(rows) < ROWS_PER_CELL[split]:
        # Most of the angry and pleased rows show the mood in the frame itself.
        own = mood != "neutral" and rng.random() < 0.65
        size = {tone: len(frames[topic, split, tone]) for tone in TONES[mood] if mood == "neutral" or tone != mood}
        tone = mood if own else rng.choices(list(size), list(size.values()))[0]
        body = decks_by_tone[tone].deal()
        opener, closer = "", ""
        # A frame that shows the mood itself may stand alone, and so may a neutral one.
        plain = not own and mood != "neutral"
        if plain or rng.random() < 0.6:
            place, both = rng.random(), BOTH if plain else BOTH / 3
            opener = openers.deal() if place < (1 + both) / 2 else ""
            closer = closers.deal() if place >= (1 - both) / 2 else ""
        text = roughen(fill(join(opener, body, closer), rng), rng)
        if text.lower() not in taken:
            taken.add(text.lower())
            rows.append(Row(text, topic, mood, split))
    return rows


def make_rows() -> list[Row]:
    """Make all rows, train before held-out, in an order shuffled within each split."""
    frames, phrases = parse(FRAMES), parse(PHRASES)
    check_apart(frames | phrases)
    taken: set[str] = set()
    rows: list[Row] = []
    for split in ROWS_PER_CELL:
        # Each split has its own generator: wording that is added to one leaves the rows of the other as they are.
        rng = random.Random(f"{SEED} {split}")
        decks = {key: Deck(entries, rng) for key, entries in phrases.items() if key[1] == split}
        part = [
            row
            for topic in TOPICS
            for mood in MOODS
            for row in make_cell(topic, mood, split, frames, decks, taken, rng)
        ]
        rng.shuffle(part)
        rows += part
    return rows


def main(path: Path = OUT) -> None:
    """Write the CSV."""
    rows = make_rows()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("text", "topic", "mood", "split"))
        writer.writerows((row.text, row.topic, row.mood, row.split) for row in rows)


if __name__ == "__main__":
    main()
