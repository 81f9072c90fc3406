"""All campaigns, in the order of the table."""

from tests.campaign import damage, disks, fuzz, hostile, kills, mirrors, resumes, signals, wrong
from tests.campaign.tally import CAMPAIGNS as CAMPAIGNS

ALL = (kills, resumes, damage, signals, disks, hostile, wrong, mirrors, fuzz)
